"""Contrast by kernels of distances: any that falls with the distance may stand for the exponential of a cosine."""

from collections.abc import Callable

import torch
from torch import Tensor

from common.checks import check_number
from common.distributed import Exchange
from common.losses.precision import same_precision
from common.scores import Scores

LEAST = 1e-7
"""Squared distances below it count as it where a power below 2 is taken: its slope is infinite at 0."""

LogKernel = Callable[[Tensor], Tensor]
"""log k of a pair, elementwise, of less its squared distance."""


def exponential(gamma: float, temperature: float) -> LogKernel:
    """log of exp(-d^gamma / temperature): Gaussian for 2, Laplacian for 1.

    Raises:
        UserError: not above 0.
    """
    check_number("gamma", gamma, above=0)
    check_number("temperature", temperature, above=0)
    if gamma == 2:
        return lambda minus: minus / temperature
    return lambda minus: -(-minus).clamp(min=LEAST).pow(gamma / 2) / temperature


def kernel_sum(*kernels: LogKernel) -> LogKernel:
    """log of the sum of kernels."""
    return lambda minus: torch.stack([kernel(minus) for kernel in kernels]).logsumexp(dim=0)


def distances(a: Tensor, b: Tensor, exchange: Exchange = Exchange.LOCAL) -> Scores:
    """Less the squared distances of rows of any length, (m, d) and (n, d)."""
    # Halves of 16 bits have a distance of 0.1 where there is none.
    a, b = same_precision(a, b)
    (p, q), one = (x.square().sum(dim=1, keepdim=True) for x in (a, b)), a.new_ones(len(a), 1)
    query, key = torch.cat([2 * a, -p, -one], dim=1), torch.cat([b, b.new_ones(len(b), 1), q], dim=1)
    return Scores(query, key, exchange=exchange)


def log_total(rows: Tensor, log_kernel: LogKernel, exchange: Exchange = Exchange.LOCAL) -> Tensor:
    """log sum over all other rows j, of all processes, of k(row_i, row_j), (n,).

    Args:
        rows: (n, d).
        log_kernel: that falls with the distance.
        exchange: whose rows are met on several processes.
    """
    scores = distances(rows, rows, exchange)
    others = scores.exclude(scores.own())
    # The nearest has the largest kernel, so that the sum is from 1 to n and nothing is lost.
    most = log_kernel(others.topk(1)[0].detach().flatten())
    return others.sum(lambda s, top: (log_kernel(s) - top).exp(), rows=(most,)).log() + most


def kernel_nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    log_kernel: LogKernel,
    *,
    floor: float = 0.0,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """-log of k(positive) / sum over all other views of k, of each of 2n views, (2n,).

    With the Gaussian kernel of unit vectors it is NT-Xent at half of the temperature.

    Args:
        view_a, view_b: (n, d), rows i are views of one sample.
        log_kernel: that falls with the distance.
        floor: the sum is at least this, and it is added once more, as released with 1e-6. Where a negative's kernel is
            far below, it is no longer pushed.
        exchange: which views an anchor meets on several processes.
    """
    view_a, view_b = same_precision(view_a, view_b)
    total = log_total(torch.cat([view_a, view_b]), log_kernel, exchange)
    if floor:
        total = (total.exp().clamp(min=floor) + floor).log()
    return total - log_kernel(-(view_a - view_b).square().sum(dim=1)).repeat(2)
