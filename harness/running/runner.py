"""A pool of workers does the runs of a plan; this process alone writes the records."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from common.experiments.records import Ledger, Record, select
from common.experiments.tries import Try, TryLedger
from harness.records.metric_names import choices
from harness.running.locks import RunLocks
from harness.running.plan import prepare_data
from harness.running.pool import Pool, Workers, uninterrupted
from harness.running.progress import Reporter
from harness.running.recording import adopt, facts_of, keep, record_of
from harness.running.run import Run
from harness.signals import exit_code


@dataclass(frozen=True)
class Failure:
    """A run without a usable result."""

    run: Run
    message: str


@dataclass
class Outcome:
    """What became of the runs."""

    finished: list[Record] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    elsewhere: list[Run] = field(default_factory=list)
    """Done by another process at the same time."""
    interrupted: int = 0
    """The exit code of the signal that ended it, if one did."""
    lacking: set[tuple[str, str, str]] = field(default_factory=set)
    """(paper, experiment, metric): what claims are about and no run will give."""

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 2 if a run failed, else 0."""
        return self.interrupted or (2 if self.failed else 0)


def execute(
    runs: Sequence[Run],
    ledger: Ledger | TryLedger,
    workers: int | None = None,
    logs: Path | None = None,
    console: Console | None = None,
    hire: "Hire | None" = None,
) -> Outcome:
    """Does the runs and appends a record as each one ends.

    A run that fails (a loss that is not finite, say) is reported, the others go on, but for those that owe a metric
    which the benchmark turns out not to have. Ctrl-C and SIGTERM end all that is under way and keep what has ended.
    Should this process be killed, its workers die with it. A training that several experiments need is done once; one
    that another process is doing is left to it.

    Args:
        runs: as from `plan`.
        workers: runs at a time, a thread each; by default as many as there are cores.
        logs: TensorBoard's files, the output and the resolved recipe of each run; by default `logs` in the repository.
        hire: who does the runs; by default processes of this machine.

    Raises:
        UserError: before anything runs, if a record could not be written or data not be fetched; later, if the disk
            fills up. The message then says where the last result is.
    """
    if not runs:
        return Outcome()
    for paper in {run.paper for run in runs}:
        ledger.check_writable(paper)
    prepare_data([run for run in runs if run.twin is None])
    workers = min(workers or cores(), len(runs))
    logs = logs or runs[0].root / "logs"
    with (
        RunLocks(ledger.folder.parent / ".locks") as locks,
        Reporter(runs, workers, console or Console()) as reporter,
        (hire or processes)(runs, workers, logs) as pool,
    ):
        execution = _Execution(runs, ledger, locks, reporter, pool)
        try:
            execution.work()
        except KeyboardInterrupt as error:
            execution.outcome.interrupted = exit_code(error)
            # What has ended and is still in the pipes counts, too.
            while execution.listen(timeout=0):
                pass
            total = f"{len(execution.outcome.finished)} of {len(runs)} runs are on record"
            reporter.note(f"interrupted: {total}; the same command goes on from there")
    return execution.outcome


Hire = Callable[[Sequence[Run], int, Path], Workers]
"""Of the runs, how many of them go at a time, and the folder of their logs."""


def processes(runs: Sequence[Run], size: int, logs: Path) -> Workers:
    return Pool(size, logs)


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Execution:
    """The runs under way, and those that wait."""

    def __init__(
        self, runs: Sequence[Run], ledger: Ledger | TryLedger, locks: RunLocks, reporter: Reporter, pool: Workers
    ) -> None:
        self.ledger, self.locks, self.reporter, self.pool = ledger, locks, reporter, pool
        self.outcome = Outcome()
        self.facts = facts_of(runs[0].root)
        # Runs of one training are done together, by the first of them.
        self.together: dict[str, list[Run]] = {}
        for run in runs:
            self.together.setdefault(run.training, []).append(run)
        self.waiting = deque(self.together)

    def work(self) -> None:
        """Until no run waits or is under way."""
        while self.waiting or self.pool.busy:
            for _ in range(len(self.waiting)):
                if self.pool.full:
                    break
                self._begin(self.waiting.popleft())
            if self.pool.busy:
                self.listen(timeout=0.5)
            elif self.waiting:
                time.sleep(0.5)  # another process has what is left
            self.reporter.tick()

    def listen(self, timeout: float) -> bool:
        """Takes what workers have to say; whether they said anything within `timeout` seconds."""
        ready = self.pool.ready(timeout)
        for worker in ready:
            # A result that has left the pipe must reach the disk.
            with uninterrupted():
                run, kind, content = self.pool.receive(worker)
                if run is not None:
                    self._take(run, kind, content)
        return bool(ready)

    def _begin(self, training: str) -> None:
        if not self.locks.take(training):
            self.waiting.append(training)
            return
        with uninterrupted():
            left = [run for run in self.together[training] if not self._done_elsewhere(run)]
            for run in [run for run in left if run.twin is not None]:
                self._finish(run, adopt(self.ledger, run, run.twin))
                left.remove(run)
        for run in list(left):
            if lacking := [m for m in run.metrics if (run.paper, run.experiment, m) in self.outcome.lacking]:
                self._fail(run, f"not started: the benchmark has no '{lacking[0]}', which a claim on it is about")
                left.remove(run)
        self.together[training] = left
        if not left:
            self.locks.free(training)
            return
        metrics = tuple(dict.fromkeys(name for run in left for name in run.metrics))
        self.pool.give(replace(left[0], metrics=metrics))
        self.reporter.start(left[0])

    def _done_elsewhere(self, run: Run) -> bool:
        """Whether another process has put the run on record since it was planned."""
        entries = self.ledger.read(run.paper)[0] if run.planned else []
        records = [entry.record if isinstance(entry, Try) else entry for entry in entries]
        own = {"experiment": run.experiment, "arm": run.arm, "seed": run.seed, "recipe_hash": run.recipe_hash}
        if not any(record.finished >= run.planned for record in select(records, **own)):
            return False
        self.outcome.elsewhere.append(run)
        self.reporter.skip(run, "another process has done it")
        return True

    def _take(self, run: Run, kind: str, content: Any) -> None:
        if kind == "step":
            self.reporter.step(run, *content)
            return
        if kind == "note":
            self.reporter.note(f"{run.name}: {content}")
            return
        for one in self.together[run.training]:
            if kind in ("failed", "lost"):
                self._fail(one, content)
            else:
                record = record_of(one, content, self.facts)
                items = content.scores.items
                own = {name: items[name] for name in one.metrics if name in items}
                keep(self.ledger, one, record, own, content.scores.curve)
                self._finish(one, record)
        self.locks.free(run.training)

    def _fail(self, run: Run, message: str) -> None:
        self.outcome.failed.append(Failure(run, message))
        self.reporter.fail(run, message)

    def _finish(self, run: Run, record: Record) -> None:
        self.outcome.finished.append(record)
        self.reporter.finish(run, record.metrics, record.seconds)
        if missing := [name for name in run.metrics if name not in record.metrics]:
            known = choices(missing[0], record.metrics, f"the record of {run.name}")
            message = f"a claim is about the metric '{missing[0]}', which {record.benchmark} does not give{known}"
            self.outcome.failed.append(Failure(run, message))
            self.outcome.lacking |= {(run.paper, run.experiment, name) for name in missing}
            self.reporter.note(f"{run.name}: {message}")
