"""A teacher whose weights are the moving average of a student's."""

import math
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import nn

from common.checks import check_number


class MomentumTeacher(nn.Module):
    """A copy of the student that is never trained: it gives no gradient, and follows by `update`.

    Its weights are buffers: they move, are saved and loaded like the rest, and no optimizer meets them.

    Args:
        student: what to copy, with its weights as they are.
        statistics: what its batch normalization goes by. "student": it is in eval mode, and the student's buffers, such
            as running means, are copied, since they would else stay as they were at the start. So does torch's
            AveragedModel; data2vec's code (fairseq's EMAModule) averages them like the weights. "own": it is in the
            mode of the module around it, and in training normalizes by the batches that it is given, which its own
            running means follow. So do MoCo and BYOL, both of which average the parameters alone.
    """

    def __init__(self, student: nn.Module, *, statistics: Literal["student", "own"] = "student") -> None:
        super().__init__()
        self.statistics = statistics
        self.body = deepcopy(student)
        for part in self.body.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.detach())
        self.train()

    def train(self, mode: bool = True) -> "MomentumTeacher":
        """With the student's statistics it stays in eval mode, whatever the module around it does."""
        return super().train(mode and self.statistics == "own")

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float) -> None:
        """Goes (1 - decay) of the way to the student; call it after the optimizer's step.

        Raises:
            UserError: the decay is outside [0, 1].
        """
        check_number("decay", decay, least=0, most=1)
        weights, statistics = dict(student.named_parameters()), dict(student.named_buffers())
        for name, buffer in self.body.named_buffers():
            if name in weights:
                buffer.lerp_(weights[name].to(buffer), 1 - decay)
            elif self.statistics == "student":
                buffer.copy_(statistics[name])

    @torch.no_grad()
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.body(*arguments, **keywords)


def cosine_decay(start: float, end: float, step: int, total: float) -> float:
    """A teacher's decay at a step from 0, on half a cosine from `start` to `end`; BYOL's ends at 1.

    Source: Grill et al. 2020 (BYOL), section 3.2.
    """
    return end - (end - start) * (1 + math.cos(math.pi * min(1.0, step / total))) / 2
