"""Losses without a sample: of distributions that are known, exactly and in float64."""

from common.population.draws import multisets
from common.population.joint import Joint, bregman, chi_square, divergence, kullback_leibler
from common.population.latent import ratio_of_posteriors, sufficiency_of_posteriors
from common.population.linear import linear_minimizer, linear_minimizer_of_samples
from common.population.losses import info_nce, info_nce_limit, spectral, triplet

__all__ = [
    "Joint",
    "bregman",
    "chi_square",
    "divergence",
    "info_nce",
    "info_nce_limit",
    "kullback_leibler",
    "linear_minimizer",
    "linear_minimizer_of_samples",
    "multisets",
    "ratio_of_posteriors",
    "spectral",
    "sufficiency_of_posteriors",
    "triplet",
]
