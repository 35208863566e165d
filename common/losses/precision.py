"""The precision losses compute in where they do not go through `Scores`."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """float32 for bf16 and fp16, anything wider as it is."""
    return x if x.dtype == torch.float64 else x.float()
