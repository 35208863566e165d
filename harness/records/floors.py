"""What each benchmark scores without learning, measured once for each version of its data: results/floors/*.json.

A file a floor, so that two papers on two branches add theirs without a conflict.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.experiments.records import Record
from harness.files import write_text


@dataclass(frozen=True)
class Floor:
    """What a benchmark scores without learning, on the data of that hash."""

    benchmark: str
    data_hash: str
    primary: str
    """The metric that ranks methods."""
    settings: dict[str, Any]
    """The arguments of the benchmark that are not its defaults; some may have no part in its data."""
    rows: dict[str, dict[str, float]]
    """Metrics by the name of what learns nothing, as in "raw pixels"."""

    @property
    def key(self) -> tuple[str, str]:
        return self.benchmark, self.data_hash


def read_floors(results: Path) -> list[Floor]:
    """The floors on record; a file that cannot be read is left out, since it can be measured again."""
    floors = []
    for path in sorted((results / "floors").glob("*.json")):
        try:
            floors.append(Floor(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return floors


def write_floor(results: Path, floor: Floor) -> None:
    """Puts a floor on record."""
    text = json.dumps(dataclasses.asdict(floor), ensure_ascii=False, indent=1)
    write_text(floor_path(results, floor), text + "\n")


def floor_path(results: Path, floor: Floor) -> Path:
    """Where a floor stands: results/floors/<benchmark>-<first letters of the data's hash>.json."""
    return results / "floors" / f"{floor.benchmark}-{floor.data_hash[:12]}.json"


def floors_of(records: Iterable[Record], floors: Iterable[Floor]) -> dict[str, dict[str, float]] | None:
    """What needs no learning on the data of these records, by name; None if none of it is measured."""
    keys = {(record.benchmark, record.data_hash) for record in records}
    found = [floor for floor in floors if floor.key in keys]
    rows: dict[str, dict[str, float]] = {}
    for floor in found:
        several = len(found) > 1  # of data that each seed draws for itself, or that arms differ in
        rows |= {f"{name} ({floor.data_hash[:8]})" if several else name: row for name, row in floor.rows.items()}
    return rows if found else None
