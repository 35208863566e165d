"""Progress of many runs: bars on a terminal, one line a run anywhere else."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from common.experiments.texts import duration
from harness.running.run import Run


class Reporter:
    """Shows what runs and what is left.

    Args:
        runs: all runs that are to be done.
        workers: how many of them run at a time.
        console: where to print.
    """

    def __init__(self, runs: Sequence[Run], workers: int, console: Console) -> None:
        self.console = console
        self.left = list(runs)
        self.total = len(runs)
        self.workers = workers
        self.measured: list[tuple[Run, float]] = []
        self.started: dict[str, float] = {}
        self.bars: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
            self.bars = Progress(*columns, console=console, transient=True)
            self.overall = self.bars.add_task("all runs", total=self.total, note="")
            self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Reporter":
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bars:
            self.bars.stop()

    def start(self, run: Run) -> None:
        self.started[run.name] = time.monotonic()
        if self.bars:
            self.tasks[run.name] = self.bars.add_task(escape(run.name), total=None, note="starting")

    def step(self, run: Run, done: int, total: int) -> None:
        if self.bars and run.name in self.tasks:
            self.bars.update(self.tasks[run.name], completed=done, total=total, note=f"step {done} of {total}")

    def finish(self, run: Run, metrics: dict[str, float], seconds: float) -> None:
        self.measured.append((run, seconds))
        values = ", ".join(f"{name} {metrics[name]:.4g}" for name in run.metrics if name in metrics)
        self._ended(run, f"{values}, {duration(seconds)}")

    def fail(self, run: Run, message: str) -> None:
        self._ended(run, f"failed: {message}", style="red")

    def skip(self, run: Run, reason: str) -> None:
        self._ended(run, reason)

    def note(self, text: str) -> None:
        self._print(text, "yellow")

    def tick(self) -> None:
        """Brings the remaining time up to date."""
        if self.bars:
            self.bars.update(self.overall, note=self._progress())

    def remaining(self) -> float | None:
        """Seconds until the last run ends, from what runs of the same arm took; None if nothing is known."""
        if not self.left:
            return 0.0
        guesses = [self._guess(run) for run in self.left]
        if any(guess is None for guess in guesses):
            return None
        now = time.monotonic()
        spent = sum(min(now - self.started.get(r.name, now), g) for r, g in zip(self.left, guesses, strict=True))
        return max(0.0, sum(guesses) - spent) / min(self.workers, len(self.left))

    def _guess(self, run: Run) -> float | None:
        alike = [s for r, s in self.measured if (r.paper, r.experiment, r.arm) == (run.paper, run.experiment, run.arm)]
        alike = alike or [s for r, s in self.measured if (r.paper, r.experiment) == (run.paper, run.experiment)]
        return sum(alike) / len(alike) if alike else run.guessed_seconds

    def _progress(self) -> str:
        remaining = self.remaining()
        tail = f", about {duration(remaining)} left" if remaining else ""
        return f"{self.total - len(self.left)} of {self.total} runs{tail}"

    def _ended(self, run: Run, text: str, style: str | None = None) -> None:
        self.left.remove(run)
        self.started.pop(run.name, None)
        if self.bars:
            if run.name in self.tasks:
                self.bars.remove_task(self.tasks.pop(run.name))
            self.bars.update(self.overall, completed=self.total - len(self.left))
        line = f"[{self.total - len(self.left)}/{self.total}] {run.name}: {text}"
        if not self.bars and (remaining := self.remaining()):
            line += f"; about {duration(remaining)} left"
        self._print(line, style)

    def _print(self, line: str, style: str | None) -> None:
        """On a terminal wrapped at words; a line of a log anywhere else."""
        whole = not self.console.is_terminal
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=whole)
