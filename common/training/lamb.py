"""Adam whose step on each tensor is as long as the tensor: for large batches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from common.training.closure import evaluated


class LAMB(Optimizer):
    """Layer-wise adaptive moments: with m and v the moments of Adam, corrected for their beginning at zero,

        u = m / (sqrt(v) + eps) + decay p,  p <- p - lr q u,  q = |p| / |u|  (1 where either is 0).

    A group with `adapt` False has q = 1 and is AdamW: biases and norms.

    Args:
        lr: learning rate.
        betas: decay of the first moment and of the second.
        eps: added to the root of the second moment.
        weight_decay: joins the update, whose length it so shares.

    Source: You et al. 2020, algorithm 2 with phi the identity, as in TensorFlow Addons.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, adapt=True))

    @torch.no_grad()
    def step(self, closure=None):
        loss = evaluated(closure)
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                first = state["first"].lerp_(parameter.grad, 1 - beta1) / (1 - beta1 ** state["step"])
                state["second"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                second = state["second"] / (1 - beta2 ** state["step"])
                update = first / (second.sqrt() + group["eps"]) + group["weight_decay"] * parameter
                if group["adapt"]:
                    length, size = parameter.norm(), update.norm()
                    update *= torch.where((length > 0) & (size > 0), length / size, 1.0)
                parameter.sub_(update, alpha=group["lr"])
        return loss
