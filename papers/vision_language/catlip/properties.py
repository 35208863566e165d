"""What follows from a loss without pairs, checked on random pictures in float64."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.catlip.module import CatLIP

SIZES = (3, 8, 5)
"""Of the parts of a batch."""


def parts(seed: int) -> float:
    """The largest difference between a batch's loss and gradient and the weighted means of those of its parts.

    Raises:
        ArithmeticError: the contrast of the same features is such a mean too, so the check means nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    n, labels = sum(SIZES), 6
    weight = torch.randn(labels, 4, generator=generator, dtype=torch.float64).requires_grad_()
    features = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    held = torch.rand(n, labels, generator=generator) < 0.3

    def classified(rows: slice) -> Tensor:
        return CatLIP.classify(features[rows] @ weight.T, held[rows])

    def contrasted(rows: slice) -> Tensor:
        text = F.normalize(held[rows].double() + 0.1, dim=1)
        return symmetric_info_nce(F.normalize(features[rows] @ weight.T, dim=1), text, temperature=0.1)

    def deviation(loss: Callable[[slice], Tensor]) -> float:
        whole = _with_gradient(loss(slice(None)), weight)
        starts = [sum(SIZES[:k]) for k in range(len(SIZES))]
        shares = [_with_gradient(loss(slice(i, i + m)), weight) * m / n for i, m in zip(starts, SIZES, strict=True)]
        return float((whole - torch.stack(shares).sum(dim=0)).abs().max())

    if deviation(contrasted) < 1e-3:
        raise ArithmeticError("the contrast of this batch is the mean of those of its parts")
    return deviation(classified)


def _with_gradient(loss: Tensor, weight: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(loss, weight)
    return torch.cat([loss.detach().view(1), slope.flatten()])
