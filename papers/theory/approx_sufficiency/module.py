"""Approximate sufficiency (Lin and Mei 2025): a code is good if it loses little of what one view tells of the other."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.checks import check_embeddings
from common.distributed import Exchange, global_mean
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.losses import symmetric_info_nce
from common.scores import Scores
from common.training.method import Method


class Coder(Method):
    """Codes of vectors; how they are trained is for the subclass to say.

    Args:
        channels: entries of the vectors.
        width: of the hidden layer.
        dim: of the code.
        optimization: the arguments of `Method`.
    """

    def __init__(self, *, channels: int = 400, width: int = 128, dim: int = 8, **optimization) -> None:
        super().__init__(**optimization)
        self.encoder = VectorTower(channels, width)
        self.code = nn.Linear(width, dim)

    def embed_vectors(self, x: Tensor) -> Tensor:
        """(n, dim), not of unit length."""
        return self.code(self.encoder(x))


class SufficientContrast(Coder):
    """Two views meet in a loss whose best code, of those with a link rich enough, loses the least of an f-divergence.

    Args:
        form: "info_nce", whose excess over the best of all scores is the loss of sufficiency by the Kullback-Leibler
            divergence, or "chi_square", by Pearson's.
        temperature: of the link, exp(cosine / temperature), which stands for p(a, b) / (p(a) p(b)).
        coder: the arguments of `Coder`.
    """

    contrastive = True

    def __init__(
        self, *, form: Literal["info_nce", "chi_square"] = "info_nce", temperature: float = 0.2, **coder
    ) -> None:
        super().__init__(**coder)
        if form not in ("info_nce", "chi_square"):
            raise UserError(f"model.form is {form!r}; it must be 'info_nce' or 'chi_square'")
        self.form, self.temperature = form, temperature

    def training_step(self, batch: LabelledVectors, batch_idx: int) -> Tensor:
        one, other = self.embed_vectors(torch.cat(batch.pair())).chunk(2)
        return self.log_loss(self.contrast(F.normalize(one, dim=1), F.normalize(other, dim=1)))

    def contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """The loss of unit vectors of two views, (n, dim) each."""
        if self.form == "info_nce":
            return symmetric_info_nce(one, other, temperature=self.temperature)
        return chi_square_contrastive(one, other, temperature=self.temperature)


def chi_square_contrastive(one: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """The spectral loss of a exp(cosine / temperature), at the number a that is best: -(E r)^2 / E' r^2.

    E is over pairs, E' over two samples, r the exponential. At best, where a r is p(a, b) / (p(a) p(b)), it is -1 - the
    chi-square information, and else larger by the mean squared distance of a r from that.

    Args:
        one, other: unit vectors of two views, (n, d).
        temperature: above 0.

    Raises:
        UserError: there is a single pair, or the shapes differ.
    """
    check_embeddings(same_rows=True, one=one, other=other)
    scores = Scores(one, other, scale=1 / temperature, bias=-1 / temperature, exchange=Exchange.GATHER)
    if (others := scores.layout.total - 1) < 1:
        raise UserError("the chi-square loss compares pairs of different samples; there is one sample")
    apart = global_mean(scores.exclude(scores.own()).sum(lambda s: (2 * s).exp())) / others
    return -global_mean(scores.diagonal().exp()).square() / apart
