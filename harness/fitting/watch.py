"""What `papers fit` keeps an eye on while it trains: signals, and that a checkpoint is never long ago."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

from harness.console import say, shown_path
from harness.signals import Terminated

EVERY = 600
"""Seconds between two checkpoints on the way."""
PATIENCE = 15
"""Seconds from a signal to the end: a process that waits for another which is gone would wait for ever."""
_SAVE = 0.5  # below all numbers of signals


class Watch(L.Callback):
    """Saves `last.ckpt` every ten minutes, at the end, and when SIGINT or SIGTERM ends the training; then all end.

    A signal waits for the end of the step, when weights, optimizer and data agree, and all processes learn of it there:
    whichever of them it was sent to, they save together and end together. So does the signal with which SLURM tells
    that the time of a job is over; Lightning then saves and puts the job back into the queue. Where checkpoints are
    off, none is saved.
    """

    def __init__(self, every: float = EVERY, patience: float = PATIENCE) -> None:
        self.every, self.patience = every, patience
        self.signal = 0
        self.in_step = False
        self.together = False
        """Whether the other processes end at the same step."""
        self.last = time.monotonic()
        self.saved_step = -1
        self.before: dict[int, Any] = {}
        self.requeue: Callable[[], None] | None = None
        """What Lightning does when SLURM's signal comes."""
        self.requeue_signal = 0
        self.requeue_wanted = False
        self.deadline: threading.Timer | None = None
        self.started = False
        """Whether all that a checkpoint brings has been taken up."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.last, self.started = time.monotonic(), True
        if threading.current_thread() is threading.main_thread():
            # One that is ignored was meant to be, as by nohup.
            heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
            for number in heeded:
                self.before[number] = signal.signal(number, self._handler(trainer))
            self._watch_slurm(trainer)

    def _watch_slurm(self, trainer: L.Trainer) -> None:
        environment = trainer._accelerator_connector.cluster_environment
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return
        number = environment.requeue_signal
        lightnings = signal.getsignal(number) if number is not None else None
        if number is None or not callable(lightnings):
            return

        def requeue() -> None:
            lightnings(number, None)

        def received(number: int, frame: object) -> None:
            if self.in_step or trainer.training:
                self.requeue_wanted = True
            else:
                requeue()  # in the middle of a validation, which may outlast the job

        self.requeue, self.requeue_signal = requeue, number
        self.before[number] = signal.signal(number, received)

    def on_validation_start(self, *_: Any) -> None:
        self.started = True

    def on_test_start(self, *_: Any) -> None:
        self.started = True

    def on_train_batch_start(self, *_: Any) -> None:
        self.in_step = True

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.in_step = False
        wish = float(self.signal or (self.requeue_signal if self.requeue_wanted else 0))
        # After its last step Lightning takes the epoch for whole; who goes on from before that gets the rest of it.
        stops = trainer.max_steps == trainer.global_step and not trainer.is_last_batch
        if not wish and (stops or time.monotonic() - self.last >= self.every):
            wish = _SAVE
        if trainer.world_size > 1:
            wishes = torch.tensor(wish, device=trainer.strategy.root_device)
            wish = float(trainer.strategy.reduce(wishes, reduce_op="max"))
        if wish == _SAVE:
            self._save(trainer)
        elif wish and self.requeue is not None and wish == self.requeue_signal:
            self.requeue_wanted = False
            self.requeue()  # SLURM ends the job now, and until then it trains on
        elif wish:
            self.together = True
            self._give_up_later(int(wish))
            raise _end(int(wish))

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt) and not self.in_step and (self.together or trainer.world_size == 1):
            self._save(trainer)
        self._restore()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step != self.saved_step and not getattr(trainer.checkpoint_callback, "save_last", None):
            self._save(trainer)
        self._restore()

    def _handler(self, trainer: L.Trainer) -> Callable[[int, object], None]:
        def received(number: int, frame: object) -> None:
            if self.signal:
                return
            self.signal = number
            self._give_up_later(number)
            if not (self.in_step or trainer.training):
                raise _end(number)  # in the middle of a validation, which may take minutes

        return received

    def _give_up_later(self, number: int) -> None:
        if self.deadline is None:
            self.deadline = threading.Timer(self.patience, os._exit, (128 + number,))
            self.deadline.daemon = True
            self.deadline.start()

    def ended(self) -> None:
        """To be called once the trainer has returned: nothing is left that could hang."""
        if self.deadline is not None:
            self.deadline.cancel()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _save(self, trainer: L.Trainer) -> None:
        folder = getattr(trainer.checkpoint_callback, "dirpath", None)
        if folder is None or getattr(trainer, "fast_dev_run", False):
            return
        path = Path(folder) / "last.ckpt"
        trainer.save_checkpoint(path)
        self.last, self.saved_step = time.monotonic(), trainer.global_step
        if trainer.is_global_zero and self.signal:
            say(f"checkpoint of step {trainer.global_step}: {shown_path(path)}")


def _end(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
