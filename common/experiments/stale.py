"""Which arms the code no longer trains as on record: one line a finding, in results/stale/<slug>.jsonl."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from common.experiments.journal import Journal, parse_object
from common.experiments.records import Record


class Mark(NamedTuple):
    """What was found of an arm when its first steps were trained again."""

    experiment: str
    arm: str
    recipe_hash: str
    step: int
    """The first whose loss is not that on record; 0 if all agree, which takes an earlier mark away."""
    off: float
    """By how much, relative; 0 if all agree."""
    found: str
    """When; UTC, ISO 8601. Records from then on are not concerned."""


Marks = Mapping[tuple[str, str, str], Mark]
"""The last mark of each arm, by experiment, arm and hash."""


class StaleLedger(Journal):
    """A folder of such files, usually `results/stale` of the repository."""

    def read(self, slug: str) -> Marks:
        """The last mark of each arm of a paper; a line that cannot be read marks nothing."""
        return {
            (mark.experiment, mark.arm, mark.recipe_hash): mark for _, mark in self.entries(slug, _parse, "mark")[0]
        }

    def append(self, slug: str, mark: Mark) -> None:
        """Raises: UserError where it cannot be written."""
        self.write(slug, json.dumps(mark._asdict(), allow_nan=False))


def is_stale(record: Record, marks: Marks) -> bool:
    """Whether the code has been found to compute something else since this record was made."""
    mark = marks.get((record.experiment, record.arm, record.recipe_hash))
    return mark is not None and mark.step > 0 and record.finished < mark.found


def stale_arms(records: Iterable[Record], marks: Marks) -> tuple[str, ...]:
    """The arms with a stale record, in the order of the records."""
    return tuple(dict.fromkeys(record.arm for record in records if is_stale(record, marks)))


def _parse(line: str) -> Mark:
    data: dict[str, Any] = parse_object(line)
    try:
        mark = Mark(*(data[name] for name in Mark._fields))
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    if [type(part) for part in mark] != [str, str, str, int, float, str]:
        raise ValueError(f"it is no mark: {data}")
    return mark
