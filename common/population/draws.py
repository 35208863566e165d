"""Exact expectations over several independent draws."""

import itertools
import math

import torch
from torch import Tensor

from common.errors import UserError

_MOST = 2_000_000


def multisets(p: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What `size` independent draws may give, whatever their order, and how likely each outcome is.

    The expectation of a function of the draws' counts is the sum of its values times the probabilities: of the mean of
    `size` vectors, (counts @ vectors) / size.

    Args:
        p: probabilities of n values, (n,).
        size: number of draws, at least 0.

    Returns:
        counts of each value, float64 (c, n), c = (n + size - 1 choose size), and probabilities (c,).

    Raises:
        UserError: there are more than 2 million outcomes, or `size` is below 0.
    """
    p = p.double()
    n = len(p)
    if size < 0 or (number := math.comb(n + size - 1, size)) > _MOST:
        raise UserError(f"{size} draws of {n} values: expected at least 0 and at most {_MOST:,} outcomes")
    drawn = torch.tensor(list(itertools.combinations_with_replacement(range(n), size)), dtype=torch.int64)
    counts = p.new_zeros(number, n)
    counts.scatter_add_(1, drawn.view(number, size), torch.ones(number, size, dtype=p.dtype))
    ways = math.lgamma(size + 1) - torch.lgamma(counts + 1).sum(dim=1)
    return counts, (ways + torch.xlogy(counts, p).sum(dim=1)).exp()
