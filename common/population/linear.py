"""The spectral loss of a linear encoder in closed form."""

import torch
from torch import Tensor

from common.errors import UserError


def linear_minimizer(second: Tensor, cross: Tensor, width: int) -> Tensor:
    """The smallest W of which f(x) = W x minimizes -2 E f(x).f(x+) + E (f(x).f(x'))^2, x' independent of x.

    With S = E x x' and C = E (x x+' + x+ x') / 2 the loss is -2 tr(G C) + tr(G S G S), G = W'W, and G is S^(-1/2) times
    the positive part of rank `width` of S^(-1/2) C S^(-1/2) times S^(-1/2) on the span of S, and 0 outside it.

    Args:
        second: S, the second moment of views, (d, d).
        cross: C, that of positive pairs, (d, d); made symmetric here.
        width: of f.

    Returns:
        W of shape (width, d), float64; rows of 0 where fewer directions help. Any rotation of its rows is as good.

    Raises:
        UserError: the moments have other shapes, or width is below 1.
    """
    if second.ndim != 2 or second.shape[0] != second.shape[1] or cross.shape != second.shape or width < 1:
        raise UserError(
            f"moments {tuple(second.shape)} and {tuple(cross.shape)}, width {width}: expected (d, d) of both and a "
            "width of at least 1"
        )
    values, vectors = torch.linalg.eigh(second.double())
    kept = values > values[-1] * len(values) * torch.finfo(torch.float64).eps
    whitening = vectors[:, kept] * values[kept].rsqrt()
    cross = cross.double()
    strengths, directions = torch.linalg.eigh(whitening.T @ (cross + cross.T) @ whitening / 2)
    strengths, directions = strengths[-width:].clamp(min=0).flip(0), directions[:, -width:].flip(1)
    found = second.new_zeros(width, len(second), dtype=torch.float64)
    found[: len(strengths)] = strengths.sqrt()[:, None] * (whitening @ directions).T
    return found
