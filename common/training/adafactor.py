"""Adam with the second moment of a matrix kept as its row and column means: memory for one moment instead of two."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from common.training.closure import evaluated


class Adafactor(Optimizer):
    """Adafactor as large vision models use it: with a first moment, a constant beta2 and steps of absolute size.

    With V = R C' / mean(R), the outer product of the running row and column means of the squared gradient (of tensors
    of at least two dimensions, the last two of them; others keep V whole), a step is

        u = g / sqrt(V),  u <- u / max(1, rms(u) / clip),  M = beta1 M + (1 - beta1) u,  p <- p - lr (M + decay p).

    `torch.optim.Adafactor` keeps no first moment, lets beta2 grow, and multiplies each step by the size of the
    parameters, so the learning rates of Yu et al. 2022 (CoCa) or Zhai et al. 2022 mean nothing to it.

    Args:
        lr: learning rate.
        betas: decay of the first moment and of the second, whose beginning at zero is corrected for, as in Adam.
        clip: largest root mean square of an update before the first moment.
        weight_decay: decoupled.

    Source: Shazeer and Stern 2018, algorithms 4 and 5; Zhai et al. 2022, section 3.4.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, clip=clip, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = evaluated(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        squared = gradient.square() + 1e-30
        means = (squared.mean(dim=-1), squared.mean(dim=-2)) if gradient.ndim >= 2 else (squared,)
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = [torch.zeros_like(mean) for mean in means]
        state["step"] += 1
        for running, mean in zip(state["second"], means, strict=True):
            running.lerp_(mean, 1 - beta2)
        corrected = [running / (1 - beta2 ** state["step"]) for running in state["second"]]
        if gradient.ndim >= 2:
            row, column = corrected
            shape = (row / row.mean(dim=-1, keepdim=True))[..., :, None] * column[..., None, :]
        else:
            (shape,) = corrected
        update = gradient * shape.rsqrt()
        update /= (update.square().mean().sqrt() / group["clip"]).clamp(min=1.0)
        state["first"].lerp_(update, 1 - beta1)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * state["first"])
