"""A pool of workers does the runs of a plan; this process alone writes the records."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from common.errors import UserError
from common.experiments.items import ItemKey, ItemLedger, item_line
from common.experiments.records import HASH_VERSION, Ledger, Record
from harness import machine
from harness.plan import prepare_data
from harness.pool import Pool, uninterrupted
from harness.progress import Reporter
from harness.signals import exit_code
from harness.worker import Result, Run


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
    ledger: Ledger,
    workers: int | None = None,
    logs: Path | None = None,
    console: Console | None = None,
) -> Outcome:
    """Does the runs and appends a record as each one ends.

    A run that fails (a loss that is not finite, say) is reported, the others go on, but for those that owe a metric
    which the benchmark turns out not to have. Ctrl-C ends all that is under way
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
    waiting = deque(runs)
    with Reporter(runs, workers, console or Console()) as reporter, Pool(workers, logs) as pool:

        def listen(timeout: float) -> bool:
            ready = pool.ready(timeout)
            for worker in ready:
                # A result that has left the pipe must reach the disk.
                with uninterrupted():
                    run, kind, content = pool.receive(worker)
                    if run is not None:
                        _take(run, kind, content, ledger, facts, reporter, outcome)
            return bool(ready)

        try:
            while waiting or pool.busy:
                while waiting and (worker := pool.idle()) is not None:
                    run = waiting.popleft()
                    if lacking := [m for m in run.metrics if (run.paper, run.experiment, m) in outcome.lacking]:
                        message = f"not started: the benchmark has no '{lacking[0]}', which a claim on it is about"
                        _take(run, "failed", message, ledger, facts, reporter, outcome)
                        continue
                    worker.give(run)
                    reporter.start(run)
                listen(timeout=0.5)
                reporter.tick()
        except KeyboardInterrupt as error:
            outcome.interrupted = exit_code(error)
            # What has ended and is still in the pipes counts, too.
            while listen(timeout=0):
                pass
            total = f"{len(outcome.finished)} of {len(runs)} runs are on record"
            reporter.note(f"interrupted: {total}; the same command goes on from there")
    return outcome


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        _append(ledger, record, content.scores.items)
        outcome.finished.append(record)
        reporter.finish(run, record.metrics, record.seconds)
        if missing := [name for name in run.metrics if name not in record.metrics]:
            known = ", ".join(record.metrics)
            message = f"a claim is about the metric '{missing[0]}'; {record.benchmark} gives: {known}"
            outcome.failed.append(Failure(run, message))
            outcome.lacking |= {(run.paper, run.experiment, name) for name in missing}
            reporter.note(f"{run.name}: {message}")


def _append(ledger: Ledger, record: Record, items: dict[str, Any]) -> None:
    key = ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed)
    try:
        # First, so that no record lacks its items.
        if items:
            ItemLedger(ledger.folder.parent / "items").write(record.paper, item_line(key, items))
        ledger.append(record)
    except UserError as error:
        place = _rescue({f"unsaved-{record.paper}.jsonl": record.line(), "items.jsonl": item_line(key, items)})
        raise UserError(f"{error}; the result of the last run is {place}, append it when there is room") from None


def _rescue(files: dict[str, str]) -> str:
    """Keeps lines that have no place among the results; says where."""
    try:
        # A folder of a name that nobody knows before, open to no one else.
        folder = Path(tempfile.mkdtemp(prefix="papers-"))
        for name, line in files.items():
            (folder / name).write_text(line + "\n", encoding="utf-8")
        return f"in {folder / next(iter(files))}"
    except OSError:
        print(*files.values(), sep="\n", file=sys.stderr)
        return "printed above"


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
        cpu_seconds=round(result.cpu_seconds, 3),
        capability=result.capability,
        first_losses=scores.first_losses,
        peak_memory_mb=round(result.peak_memory_mb, 1),
        device=scores.device,
        threads=result.threads,
        recipe_hash=run.recipe_hash,
        data_hash=scores.data_hash,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        hash_version=HASH_VERSION,
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
    state = {"git_commit": commit or "unknown", "git_dirty": bool(changed.strip())}
    return {"versions": versions, "processor": machine.processor(), **state}


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
