"""The progress of a training: how long it still takes, how fast it is, and its loss."""

import math
import time
from collections import deque
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar, Timer
from rich import get_console

from common.experiments.texts import duration
from harness.console import say

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""
FIRST = 10.0
"""Seconds from the beginning to the first of them."""
_REFRESH, _WINDOW = 0.5, 50


class Bar(RichProgressBar):
    """Lightning's bar with samples a second over all processes, and the time that is left of the whole training.

    Without a terminal, as in the log of a scheduler, a line once a minute takes its place. The loss is read from its
    device when it is shown, and not at every step.
    """

    def __init__(self, first: float = FIRST, every: float = EVERY) -> None:
        super().__init__()
        self.first, self.every = first, every
        self.terminal = get_console().is_terminal or get_console().is_jupyter
        if not self.terminal:
            self.disable()
        self.ends: deque[float] = deque(maxlen=_WINDOW)
        """When the last steps ended, validations between them left out."""
        self.shown: dict[str, Any] = {}
        self.shown_at = -math.inf
        self.line_at = math.inf
        self.began, self.first_step = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.began, self.first_step = time.monotonic(), trainer.global_step
        self.line_at = self.began + self.first
        if not self.terminal and trainer.is_global_zero:
            sizes = [(weights.numel(), weights.requires_grad) for weights in pl_module.parameters()]
            trained, total = sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)
            say(f"training {trained:,} of {total:,} parameters")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.ends.clear()
        super().on_validation_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self.ends.append(now)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not self.terminal and now >= self.line_at and trainer.is_global_zero:
            self.line_at = now + self.every
            found = self._found(trainer, pl_module)
            loss = found.pop("train/loss", None)
            parts = [f"loss {float(loss):.4g}"] if loss is not None else []
            parts += [f"{found[name]} {name}" for name in ("samples/s", "left") if name in found]
            say(f"step {trainer.global_step}{_of(trainer)}: {', '.join(parts)}")

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        now = time.monotonic()
        if now - self.shown_at >= _REFRESH:
            self.shown, self.shown_at = self._found(trainer, pl_module), now
        return dict(self.shown)

    def _found(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        found: dict[str, Any] = super().get_metrics(trainer, module)
        found.pop("v_num", None)
        samples = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
        if samples and len(self.ends) > 1 and self.ends[-1] > self.ends[0]:
            found["samples/s"] = f"{samples * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0]):,.0f}"
        left = self._left(trainer)
        if left is not None:
            found["left"] = duration(left)
        return found

    def _left(self, trainer: L.Trainer) -> float | None:
        """Seconds to the end, validations included; None where it cannot be told."""
        done, total = trainer.global_step - self.first_step, steps(trainer)
        ways = []
        if math.isfinite(total) and done > 0:
            ways.append((time.monotonic() - self.began) / done * max(0.0, total - trainer.global_step))
        for timer in trainer.callbacks:  # type: ignore[attr-defined]
            left = timer.time_remaining() if isinstance(timer, Timer) else None
            if left is not None:
                ways.append(left.total_seconds() if isinstance(left, timedelta) else float(left))
        return min(ways, default=None)


def steps(trainer: L.Trainer) -> float:
    """Optimizer steps of the whole training; infinite where only time ends it."""
    return trainer.estimated_stepping_batches


def _of(trainer: L.Trainer) -> str:
    total = steps(trainer)
    return f" of {int(total)}" if math.isfinite(total) else ""
