"""A teacher whose weights are the moving average of a student's."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from common.checks import check_number


class MomentumTeacher(nn.Module):
    """A copy of the student that is never trained: it is in eval mode, gives no gradient, and follows by `update`.

    Its weights are buffers: they move, are saved and loaded like the rest, and no optimizer meets them.

    The student's own buffers, such as the running statistics of batch normalization, are copied: what a teacher in eval
    mode normalizes by would else stay as it was at the start. So does torch's AveragedModel; data2vec's code (fairseq's
    EMAModule) averages them like the weights. MoCo and BYOL average the parameters alone, and run their teacher in
    training mode, where it normalizes by the statistics of its own batches.

    Args:
        student: what to copy, with its weights as they are.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.body = deepcopy(student)
        for part in self.body.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.detach())
        self.eval()

    def train(self, mode: bool = True) -> "MomentumTeacher":
        """Stays in eval mode, whatever the module around it does."""
        return super().train(False)

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
            else:
                buffer.copy_(statistics[name])

    @torch.no_grad()
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.body(*arguments, **keywords)
