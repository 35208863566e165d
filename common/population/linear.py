"""The spectral loss of a linear encoder in closed form: of known moments, and of samples with noise for views."""

import torch
from torch import Tensor

from common.checks import check_ids, check_number
from common.errors import UserError


def linear_minimizer(second: Tensor, cross: Tensor, width: int) -> Tensor:
    """The smallest W with which f(x) = W x minimizes -2 E f(x).f(x+) + E (f(x).f(x'))^2, x' independent of x.

    With S = E x x' and C = E (x x+' + x+ x') / 2 the loss is -2 tr(G C) + tr(G S G S), G = W'W, and G is S^(-1/2) times
    the positive part of rank `width` of S^(-1/2) C S^(-1/2) times S^(-1/2) on the span of S, and 0 outside it.

    Args:
        second: S, the second moment of views, (d, d).
        cross: C, that of positive pairs, (d, d); made symmetric here.
        width: of f.

    Returns:
        W of shape (width, d), float64; rows of 0 where fewer directions help. Any rotation of its rows is as
        good, and where several directions help equally and not all have room, any of them.

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
    # What rounding leaves of a strength of 0 has a direction at random, and a probe that standardizes would read it.
    least = strengths.abs().amax() * len(strengths) * torch.finfo(torch.float64).eps
    strengths, directions = strengths[-width:].flip(0), directions[:, -width:].flip(1)
    strengths = strengths.where(strengths > least, 0.0)
    found = second.new_zeros(width, len(second), dtype=torch.float64)
    found[: len(strengths)] = strengths.sqrt()[:, None] * (whitening @ directions).T
    return found


def linear_minimizer_of_samples(
    x: Tensor, width: int, *, noise: float = 0.0, labels: Tensor | None = None, by_label: float = 1.0
) -> Tensor:
    """`linear_minimizer` of samples whose views are x + noise, over all samples and all noise.

    Args:
        x: samples, (n, d).
        width: of the encoder.
        noise: standard deviation, in each coordinate, of what each view adds.
        labels: int (n,). Positives are then views of any two samples of one label, of one sample twice too; without
            them, two views of one sample.
        by_label: share of the positives that are so, the others being views of one sample: the weight of the supervised
            loss in the sum of both.

    Returns:
        W of shape (width, d), float64; 0 outside of the span of x.

    Raises:
        UserError: an argument is out of range, or labels do not fit.
    """
    check_number("noise", noise, least=0)
    check_number("by_label", by_label, least=0, most=1)
    # Outside of the span of x nothing is shared by two views: it is enough to look inside.
    _, lengths, basis = torch.linalg.svd(x.double(), full_matrices=False)
    basis = basis[lengths > lengths[0] * max(x.shape) * torch.finfo(torch.float64).eps]
    rows = x.double() @ basis.T
    own = rows.T @ rows / len(x)
    cross = own
    if labels is not None:
        check_ids("labels", labels, len(x))
        _, kind, size = labels.unique(return_inverse=True, return_counts=True)
        sums = rows.new_zeros(len(size), rows.shape[1]).index_add(0, kind, rows)
        cross = by_label * (sums / size[:, None]).T @ sums / len(x) + (1 - by_label) * own
    return linear_minimizer(own + noise**2 * torch.eye(len(basis)).double(), cross, width) @ basis
