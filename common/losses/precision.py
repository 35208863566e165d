"""The precision losses compute in where they do not go through `Scores`."""

import torch
from torch import Tensor

from common.distributed import Exchange, sum_over_processes


def at_least_float32(x: Tensor) -> Tensor:
    """float32 for bf16 and fp16, anything wider as it is."""
    return x if x.dtype == torch.float64 else x.float()


def same_precision(*tensors: Tensor) -> list[Tensor]:
    """All of them in the widest precision among them, at least float32."""
    widest = torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
    return [x.to(widest) for x in tensors]


def centred(x: Tensor, total: int, exchange: Exchange) -> Tensor:
    """The rows less the mean of all rows, a constant: distances stay, and far from the origin keep their digits.

    |x|^2 - 2 x y + |y|^2 is a small difference of large numbers where the rows lie close together and far out.

    Args:
        x: our rows, (n, d).
        total: rows on all processes.
        exchange: LOCAL takes the mean of our rows alone.
    """
    with torch.no_grad():
        sums = x.sum(dim=0)
        if exchange != Exchange.LOCAL:
            sums = sum_over_processes(sums)
    return x - sums / max(1, total)
