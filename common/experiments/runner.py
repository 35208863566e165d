"""A pool of workers does the runs of a plan; this process alone writes the records."""

import contextlib
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from rich.console import Console

from common.errors import UserError
from common.experiments.plan import prepare_data
from common.experiments.progress import Reporter
from common.experiments.records import Ledger, Record
from common.experiments.worker import ENVIRONMENT, Result, Run, serve


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
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 2 if a run failed, else 0."""
        return 130 if self.interrupted else 2 if self.failed else 0


def execute(
    runs: Sequence[Run],
    ledger: Ledger,
    workers: int | None = None,
    logs: Path | None = None,
    console: Console | None = None,
) -> Outcome:
    """Does the runs and appends a record as each one ends.

    A run that fails (a loss that is not finite, say) is reported, the others go on. Ctrl-C ends all that is under way
    and keeps what has ended. Should this process be killed, its workers die with it.

    Args:
        runs: as from `plan`.
        workers: runs at a time, a thread each; by default as many as there are cores.
        logs: TensorBoard's files, the output and the resolved recipe of each run; by default `logs` in the repository.

    Raises:
        UserError: before anything runs, if a record could not be written or data not be fetched; later, if the disk
            fills up. The message then says where the last result is.
    """
    outcome = Outcome()
    if not runs:
        return outcome
    for paper in {run.paper for run in runs}:
        ledger.check_writable(paper)
    prepare_data(runs)
    workers = min(workers or cores(), len(runs))
    logs = logs or runs[0].root / "logs"
    facts = _facts(runs[0].root)
    with Reporter(runs, workers, console or Console()) as reporter, _Pool(workers, logs) as pool:
        try:
            _work(deque(runs), pool, ledger, facts, reporter, outcome)
        except KeyboardInterrupt:
            outcome.interrupted = True
            # What has ended but was not read yet counts, too.
            while arrived := list(pool.messages(timeout=0)):
                for run, kind, content in arrived:
                    _take(run, kind, content, ledger, facts, reporter, outcome)
            total = f"{len(outcome.finished)} of {len(runs)} runs are on record"
            reporter.note(f"interrupted: {total}; the same command goes on from there")
    return outcome


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(
    waiting: deque[Run], pool: "_Pool", ledger: Ledger, facts: dict, reporter: Reporter, outcome: Outcome
) -> None:
    while waiting or pool.busy:
        while waiting and (worker := pool.idle()) is not None:
            run = waiting.popleft()
            worker.give(run)
            reporter.start(run)
        for run, kind, content in pool.messages(timeout=0.5):
            _take(run, kind, content, ledger, facts, reporter, outcome)
        reporter.tick()


def _take(
    run: Run, kind: str, content: object, ledger: Ledger, facts: dict, reporter: Reporter, outcome: Outcome
) -> None:
    if kind == "step":
        reporter.step(run, *content)
    elif kind == "failed":
        outcome.failed.append(Failure(run, content))
        reporter.fail(run, content)
    else:
        record = _record(run, content, facts)
        _append(ledger, record)
        outcome.finished.append(record)
        reporter.finish(run, record.metrics, record.seconds)
        if missing := [name for name in run.metrics if name not in record.metrics]:
            known = ", ".join(record.metrics)
            message = f"a claim is about the metric '{missing[0]}'; {record.benchmark} gives: {known}"
            outcome.failed.append(Failure(run, message))
            reporter.note(f"{run.name}: {message}")


def _append(ledger: Ledger, record: Record) -> None:
    try:
        ledger.append(record)
    except UserError as error:
        refuge = Path(tempfile.gettempdir()) / f"unsaved-{record.paper}.jsonl"
        try:
            with refuge.open("a", encoding="utf-8") as file:
                file.write(record.line() + "\n")
            place = f"in {refuge}"
        except OSError:
            print(record.line(), file=sys.stderr)
            place = "printed above"
        raise UserError(f"{error}; the result of the last run is {place}, append it when there is room") from None


def _record(run: Run, result: Result, facts: dict) -> Record:
    scores = result.scores
    return Record(
        paper=run.paper,
        experiment=run.experiment,
        arm=run.arm,
        recipe=run.recipe,
        seed=run.seed,
        benchmark=scores.benchmark,
        metrics=scores.metrics,
        steps=scores.steps,
        seconds=round(result.seconds, 3),
        peak_memory_mb=round(result.peak_memory_mb, 1),
        device=scores.device,
        threads=result.threads,
        recipe_hash=run.recipe_hash,
        data_hash=scores.data_hash,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **facts,
    )


def _facts(root: Path) -> dict:
    """What is the same for all runs: versions and the state of the repository."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "lightning", "numpy", "transformers", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    commit = _git(root, "rev-parse", "HEAD").strip()
    # Records and what is made of them change with every run; they are no part of what was run.
    changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results", ":(exclude)logs")
    return {"versions": versions, "git_commit": commit or "unknown", "git_dirty": bool(changed.strip())}


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


class _Worker:
    def __init__(self, logs: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # No daemon: it may itself start processes that load data. The pool sees to its end.
        self.process = context.Process(target=serve, args=(theirs, logs))
        with _inheritance():
            self.process.start()
        theirs.close()
        self.run: Run | None = None

    def give(self, run: Run) -> None:
        self.run = run
        with contextlib.suppress(BrokenPipeError):  # it has just died, which `messages` reports
            self.connection.send(run)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    def __init__(self, size: int, logs: Path) -> None:
        self.size = size
        self.logs = logs
        self.workers: list[_Worker] = []

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()

    @property
    def busy(self) -> bool:
        return any(worker.run is not None for worker in self.workers)

    def idle(self) -> _Worker | None:
        """A worker without a run, a new one if there is room, or None."""
        for worker in self.workers:
            if worker.run is None:
                return worker
        if len(self.workers) == self.size:
            return None
        self.workers.append(_Worker(self.logs))
        return self.workers[-1]

    def messages(self, timeout: float) -> Iterator[tuple[Run, str, object]]:
        """What has arrived within `timeout` seconds: the run, "step", "done" or "failed", and the content."""
        by_connection = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            run = worker.run
            try:
                kind, content = connection.recv()
            except (EOFError, OSError):
                self.workers.remove(worker)
                worker.process.join()
                kind, content = "failed", _last_words(worker.process.exitcode)
                worker.connection.close()
            if kind != "step":
                worker.run = None
            if run is not None:
                yield run, kind, content


def _last_words(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (is memory short? try fewer workers)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with code {exit_code}"


@contextlib.contextmanager
def _inheritance() -> Iterator[None]:
    """What a worker inherits when it is started: its environment variables, and deafness to Ctrl-C.

    Ctrl-C reaches every process of the terminal; the parent alone decides what it means.
    """
    deaf = hasattr(signal, "pthread_sigmask")
    if deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        if deaf:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
