"""What the steps of optimizers begin with."""

from collections.abc import Callable

import torch
from torch import Tensor


def evaluated(closure: Callable[[], Tensor] | None) -> Tensor | None:
    """The loss of a closure, with its gradients, inside of a step that is taken without any; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
