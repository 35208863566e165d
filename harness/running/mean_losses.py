"""The course of a training's loss, kept without a look at it while it trains."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from common.experiments.loss_curves import LossCurve


class MeanLosses(L.Callback):
    """The mean loss of each logging interval, of the batches on this process.

    Between two intervals the loss is added up where it is; numbers are read once, by `curve`.
    """

    def __init__(self) -> None:
        self._every = 1
        self._sum: Tensor | None = None
        self._count = 0
        self._means: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._every = max(1, trainer.log_every_n_steps)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        # A loop that optimizes by hand may return nothing; what it logs is then all there is.
        loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs
        if loss is None:
            loss = trainer.callback_metrics.get("train/loss")
        if loss is None:
            return
        loss = torch.as_tensor(loss).detach().double()
        self._sum = loss if self._sum is None else self._sum + loss
        self._count += 1
        if self._count == self._every:
            self._means.append(self._sum / self._every)
            self._sum, self._count = None, 0

    def curve(self) -> LossCurve | None:
        """None of a training that was shorter than an interval, or whose loss was not finite."""
        losses = torch.stack(self._means).tolist() if self._means else []
        return LossCurve(self._every, tuple(losses)) if losses and all(map(math.isfinite, losses)) else None
