"""The reductions of a matrix of scores as one would write them down: built whole, and differentiated by autograd.

What the other backends compute is this. It needs several (m, n) matrices, and no look at their numbers.
"""

import math

from torch import Tensor
from torch.nn import functional as F

from common.tiled.matrices import Own
from common.tiled.tiles import Edits


def edited(matrix: Tensor, edits: Edits) -> Tensor:
    """The scores with what is added to them, and -inf at the pairs that are left out, (m, n)."""
    everything = slice(0, matrix.shape[0]), slice(0, matrix.shape[1])
    scores = edits.apply(matrix.clone(), *everything) if edits.add else matrix
    excluded = edits.excluded(*everything)
    return scores if excluded is None else scores.masked_fill(excluded, -math.inf)


def logsumexp(matrix: Tensor, edits: Edits, dim: int) -> Tensor:
    """log sum exp by row (dim 1, (m,)) or by column (dim 0, (n,)); -inf, without a gradient, where no pair is left."""
    scores = edited(matrix, edits)
    empty = scores.detach().isneginf().all(dim)
    # exp(-inf + inf) would be NaN in the backward pass.
    return scores.masked_fill(empty.unsqueeze(dim), 0.0).logsumexp(dim).masked_fill(empty, -math.inf)


def softplus_total(matrix: Tensor, edits: Edits, positive: Own | None) -> Tensor:
    """The sum of log(1 + e^s), 0-d; of log(1 + e^-s) at the `positive` pairs."""
    total = -F.logsigmoid(-edited(matrix, edits)).sum()
    if positive is None:
        return total
    everything = slice(0, matrix.shape[0]), slice(0, matrix.shape[1])
    return total - positive.diagonal(edits.apply(matrix.clone(), *everything), *everything).sum()
