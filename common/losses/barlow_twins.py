"""The cross-correlation of two views as near to the identity as can be."""

import torch
from torch import Tensor

from common.checks import check_embeddings, check_number
from common.distributed import sum_over_processes
from common.losses import examples
from common.losses.precision import same_precision
from common.losses.registry import Example, Needs, loss
from common.observing import compared
from common.tiled.tiles import full_precision


def _example(n: int, seed: int) -> Example:
    views = examples.two_views(n, seed).embeddings
    return Example(views, shared={"weight": 0.1})


@loss(_example, needs=Needs.NOTHING)
def barlow_twins(view_a: Tensor, view_b: Tensor, *, weight: float = 0.0051, eps: float = 1e-5) -> Tensor:
    """Makes each dimension agree with itself in the other view and with no other dimension.

    With C the correlation over the batch between the dimensions of the one view and of the other,
    sum_k (1 - C_kk)^2 + weight * sum_{k != l} C_kl^2.

    Args:
        view_a, view_b: (n, d), as they are; rows i are views of one sample.
        weight: of the redundancy, lambda.
        eps: added to the variances, as batch normalization does.

    Returns:
        0-d, the correlation being that over the samples of all processes; 0 for no samples. Holds a (d, d) matrix.

    Raises:
        UserError: views of different shapes or of other than floating-point numbers, a weight or an eps below 0.

    Relations: it compares dimensions where contrastive losses compare samples; its negatives are the other dimensions.

    Source: Zbontar et al. 2021, eq. 1 and 2.
    """
    check_number("weight", weight, least=0)
    check_number("eps", eps, least=0)
    check_embeddings(same_rows=True, view_a=view_a, view_b=view_b)
    compared(view_a, view_b)
    views = same_precision(view_a, view_b)
    samples = sum_over_processes(views[0].new_tensor(len(view_a)))
    count = samples.clamp(min=1)
    with full_precision(view_a.device):
        one, other = (_standardized(view, count, eps) for view in views)
        correlation = sum_over_processes(one.T @ other) / count
    agreement = correlation.diagonal()
    redundancy = correlation - torch.diag(agreement)
    value = (1 - agreement).square().sum() + weight * redundancy.square().sum()
    return torch.where(samples > 0, value, 0.0)


def _standardized(x: Tensor, count: Tensor, eps: float) -> Tensor:
    """Each dimension to mean 0 and variance 1 over the samples of all processes."""
    x = x - sum_over_processes(x.sum(dim=0)) / count
    return x * (sum_over_processes(x.square().sum(dim=0)) / count + eps).rsqrt()
