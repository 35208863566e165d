"""What `papers test` found on the user's own data: kept beside its log, for `papers compare` to rank."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import write_text

FILE = "scores.json"


@dataclass(frozen=True)
class Score:
    """One test of one checkpoint."""

    paper: str
    method: str
    """The class that was scored."""
    arguments: dict[str, Any]
    """What it was built with, plain values alone."""
    benchmark: str
    data_hash: str
    checkpoint: str
    """Path of the weights, or "untrained"."""
    metrics: dict[str, float]


def write_score(folder: Path, score: Score) -> None:
    """Puts a score into the folder of its log."""
    write_text(folder / FILE, json.dumps(dataclasses.asdict(score), ensure_ascii=False, indent=1) + "\n")


def read_scores(logs: Path) -> list[Score]:
    """All scores under a folder of logs, the newest last; a file that cannot be read is left out."""
    found = []
    for path in sorted(logs.glob(f"*/test/**/{FILE}"), key=lambda path: path.stat().st_mtime):
        try:
            found.append(Score(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return found


def latest(scores: Iterable[Score]) -> list[Score]:
    """Of several tests of one checkpoint on the same data the last."""
    return list({(one.paper, one.checkpoint, one.data_hash): one for one in scores}.values())


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that JSON can hold."""
    kinds = (str, int, float, bool, type(None), list, tuple)
    return {key: value for key, value in arguments.items() if not key.startswith("_") and isinstance(value, kinds)}
