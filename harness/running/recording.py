"""From a worker's result to the lines on record."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.experiments.items import ItemLedger, item_line
from common.experiments.loss_curves import CurveLedger, LossCurve
from common.experiments.records import HASH_VERSION, ItemKey, Ledger, Record
from common.experiments.tries import Try, TryLedger
from harness.running.run import Result, Run


def record_of(run: Run, result: Result, facts: dict[str, Any]) -> Record:
    """The record of a finished run; `facts` are those of `facts_of`."""
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
        processor=result.processor,
        first_losses=scores.first_losses,
        means=scores.means,
        peak_memory_mb=round(result.peak_memory_mb, 1),
        device=scores.device,
        threads=result.threads,
        recipe_hash=run.recipe_hash,
        data_hash=scores.data_hash,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        hash_version=HASH_VERSION,
        **facts,
    )


def facts_of(root: Path) -> dict[str, Any]:
    """What is the same for all runs: versions and the state of the repository."""
    commit = _git(root, "rev-parse", "HEAD").strip()
    # Records and what is made of them change with every run; they are no part of what was run.
    changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results", ":(exclude)logs")
    state = {"git_commit": commit or "unknown", "git_dirty": bool(changed.strip())}
    return {"versions": versions(), **state}


def versions() -> dict[str, str]:
    """Of what numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("torch", "lightning", "numpy", "transformers", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def keep(
    ledger: Ledger | TryLedger, run: Run, record: Record, items: dict[str, Any], curve: LossCurve | None = None
) -> None:
    """Puts a run with its items and curve on record, or where they can be found if there is no room.

    Args:
        items: a value for each unit of the metrics that claims are about, where there are any.
        curve: of its loss; not kept of tries, which are many.

    Raises:
        UserError: the disk is full, say; tells where the result is instead.
    """
    key = ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed)
    entry = record if run.knobs is None else Try(record, run.knobs)
    try:
        # First, so that no record lacks its items.
        if items:
            ItemLedger(ledger.folder.parent / "items").write(record.paper, item_line(key, items))
        if curve is not None and run.knobs is None:
            CurveLedger(ledger.folder.parent / "curves").append(record.paper, key, curve)
        ledger.append(entry)
    except UserError as error:
        place = _rescue({f"unsaved-{record.paper}.jsonl": entry.line(), "items.jsonl": item_line(key, items)})
        raise UserError(f"{error}; the result of the last run is {place}, append it when there is room") from None


def adopt(ledger: Ledger | TryLedger, run: Run, twin: Record) -> Record:
    """Puts the record of the same training in another experiment or paper on record for this run, too.

    Raises:
        UserError: as `keep` does.
    """
    record = dataclasses.replace(twin, paper=run.paper, experiment=run.experiment, arm=run.arm, recipe=run.recipe)
    key = ItemKey(twin.experiment, twin.arm, twin.recipe_hash, twin.seed)
    items = ItemLedger(ledger.folder.parent / "items").read(twin.paper).get(key, {})
    keep(ledger, run, record, {name: items[name] for name in run.metrics if name in items})
    return record


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
