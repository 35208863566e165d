"""The losses of a run's first steps: what tells that the code no longer computes what is on record.

A recipe's hash does not see the code behind its names. The first losses do: a loss that returns the double, an
encoder's default that was changed, another order of the data show within three steps, on seed 0, in seconds.
"""

from collections.abc import Sequence
from typing import Any

import lightning as L

STEPS = 3
TOLERANCE = 1e-4
"""Relative. float32 rounds at 6e-8, and a sum over a batch taken in another order, as by other vector instructions, is
off by some 1e-6 at most. AdamW's first step is lr times the sign of the gradient: where rounding turns a sign, the
gradient is so small that the loss hardly moves. A change of the code that matters is far above."""


class FirstLosses(L.Callback):
    """Keeps the losses of the first three batches.

    Args:
        stop: end the training after them. The schedule is that of the whole run, unlike with `max_steps: 3`.
    """

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        if len(self.losses) < STEPS:
            # A loop that optimizes by hand may return nothing; what it logs is then all there is.
            loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs
            self.losses.append(float(trainer.callback_metrics["train/loss"] if loss is None else loss))
        if self.stop and len(self.losses) == STEPS:
            trainer.should_stop = True


def deviation(recorded: Sequence[float], today: Sequence[float]) -> tuple[int, float] | None:
    """The first step (from 1) whose loss is off by more than the tolerance, and by how much; None if all agree.

    Args:
        recorded: `first_losses` of a record; empty in those of before they were kept, which agree with anything.
    """
    for step, (before, now) in enumerate(zip(recorded, today, strict=False), start=1):
        off = abs(now - before) / max(abs(before), 1e-12)
        if not off <= TOLERANCE:
            return step, off
    if recorded and len(recorded) != len(today):
        return min(len(recorded), len(today)) + 1, float("inf")
    return None
