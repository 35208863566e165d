"""What was tried before the runs: one line a try of `papers tune`, in results/tuning/<slug>.jsonl."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from common.experiments.journal import Journal, parse_object
from common.experiments.records import Record


@dataclass(frozen=True)
class Try:
    """An arm trained with other values of its knobs and scored on validation data."""

    record: Record
    """Its metrics are those of the validation split; its hash is that of the recipe with these values."""
    knobs: dict[str, Any]
    """The values tried, by their place in the recipe, as in `model.lr`."""

    def line(self) -> str:
        """The try as one line of JSON, without the line feed."""
        line = dataclasses.asdict(self.record) | {"split": "val", "knobs": self.knobs}
        return json.dumps(line, ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, line: str) -> "Try":
        """Raises: ValueError that says what is wrong."""
        knobs = parse_object(line).get("knobs")
        if not isinstance(knobs, dict) or not knobs:
            raise ValueError("the field 'knobs' is missing or no mapping")
        return cls(Record.parse(line), knobs)


class TryLedger(Journal):
    """A folder of such files, usually `results/tuning` of the repository."""

    def read(self, slug: str) -> tuple[list[Try], list[str]]:
        """The tries of a paper in the order they were made, and one warning for each line that cannot be read.

        Raises:
            UserError: the file exists and cannot be opened.
        """

        def parse(line: str) -> Try:
            found = Try.parse(line)
            if found.record.paper != slug:
                raise ValueError(f"it is of the paper '{found.record.paper}'")
            return found

        entries, warnings = self.entries(slug, parse, "try")
        return [one for _, one in entries], warnings

    def append(self, one: Try) -> None:
        """Adds one line, whole or not at all.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        self.write(one.record.paper, one.line())
