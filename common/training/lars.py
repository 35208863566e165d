"""SGD whose step on each tensor is as long as the tensor: for large batches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from common.training.closure import evaluated


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling: with g the gradient plus decay times the weights p, and v the momentum,

        v <- momentum v + q g,  p <- p - lr v,  q = eta |p| / |g|  (1 where either is 0).

    A group with `adapt` False has q = 1 and is SGD: biases and norms, in BYOL and Barlow Twins.

    Args:
        lr: learning rate.
        momentum: of the accumulated steps, which hold no learning rate.
        weight_decay: joins the gradient before it is scaled.
        eta: the trust coefficient.
        clip: q is at most 1 where it is measured by lr: min(eta |p| / (lr |g|), 1), so that no step is longer than
            SGD's. It is known as LARC.

    Source: You et al. 2017, with the decay inside of |g|, as in the released code of BYOL and Barlow Twins.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
        clip: bool = False,
    ) -> None:
        given = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta, clip=clip, adapt=True)
        super().__init__(params, given)

    @torch.no_grad()
    def step(self, closure=None):
        loss = evaluated(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                step = parameter.grad.add(parameter, alpha=group["weight_decay"])
                if group["adapt"]:
                    length, size = parameter.norm(), step.norm()
                    q = group["eta"] * length / size
                    if group["clip"]:
                        q = (q / max(group["lr"], 1e-12)).clamp(max=1.0)
                    step *= torch.where((length > 0) & (size > 0), q, 1.0)
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(step)
                parameter.sub_(state["momentum"], alpha=group["lr"])
        return loss
