"""The record of what was run: one line of JSON a run, in results/runs/<slug>.jsonl, appended and never rewritten."""

import dataclasses
import json
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from common.experiments.journal import Journal, parse_object

HASH_VERSION = 2
"""The scheme of today's recipe hashes; records of an older one are brought up to it by `papers migrate`."""


class Key(NamedTuple):
    """What makes two runs the same run."""

    paper: str
    experiment: str
    arm: str
    seed: int
    recipe_hash: str
    data_hash: str


class ItemKey(NamedTuple):
    """The run that scores of single test items belong to, see `items`; the paper is that of the file."""

    experiment: str
    arm: str
    recipe_hash: str
    seed: int


@dataclass(frozen=True)
class Record:
    """One finished run."""

    paper: str
    experiment: str
    arm: str
    """For a property, the name of the experiment."""
    recipe: str
    """The file name, as in "mini.yaml"; for a property, its "module:function"."""
    seed: int
    benchmark: str
    metrics: dict[str, float]
    """Values by names that carry their protocol."""
    steps: int
    """Optimizer steps taken."""
    seconds: float
    """Wall time of training and scoring, without loading libraries."""
    peak_memory_mb: float
    """Peak resident memory of the process in MiB, libraries included (several hundred)."""
    device: str
    threads: int
    versions: dict[str, str]
    git_commit: str
    git_dirty: bool
    recipe_hash: str
    data_hash: str
    finished: str
    """UTC, ISO 8601."""
    # What records gained later has a default, so that older lines are read too.
    hash_version: int = 1
    """The scheme of `recipe_hash`."""
    cpu_seconds: float = 0.0
    """Processor time of training and scoring, user and system, child processes included; 0 in records without it."""
    processor: str = ""
    """The model's name, as in "AMD EPYC 9V74"."""
    capability: str = ""
    """The vector instructions that PyTorch used, as in "AVX512"; "" where nothing loaded PyTorch."""
    first_losses: tuple[float, ...] = ()
    """The losses of the first three training batches; () where nothing was trained."""
    means: tuple[str, ...] = ()
    """The metrics that are means over test items, so that items are kept of those that claims are about."""

    @property
    def key(self) -> Key:
        return Key(self.paper, self.experiment, self.arm, self.seed, self.recipe_hash, self.data_hash)

    def line(self) -> str:
        """The record as one line of JSON, without the line feed. Raises: ValueError if a metric is not finite."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, line: str) -> "Record":
        """Raises: ValueError that says what is wrong. Fields of a later version are ignored."""
        data = parse_object(line)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name in data:
                values[field.name] = _typed(field, data[field.name])
            elif field.default is dataclasses.MISSING:
                raise ValueError(f"the field '{field.name}' is missing")
        for name, value in values["metrics"].items():
            if type(value) not in (int, float):
                raise ValueError(f"the metric '{name}' is {value!r}, not a number")
        return cls(**values)


_LISTS = {"first_losses": (float, (int, float), "numbers"), "means": (str, (str,), "names")}


_TYPES = {field.name: typing.get_origin(field.type) or field.type for field in dataclasses.fields(Record)}
"""`dict` of `dict[str, float]`."""


def _typed(field: dataclasses.Field, value: Any) -> Any:
    if field.name in _LISTS:
        kind, allowed, what = _LISTS[field.name]
        if type(value) is not list or any(type(v) not in allowed for v in value):
            raise ValueError(f"the field '{field.name}' is {value!r}, not a list of {what}")
        return tuple(map(kind, value))
    wanted = _TYPES[field.name]
    assert isinstance(wanted, type)
    if wanted is float and type(value) is int:
        value = float(value)
    # A boolean is an int to Python, but no seed: its type is another.
    if type(value) is not wanted:
        raise ValueError(f"the field '{field.name}' is {value!r}, not of type {wanted.__name__}")
    if isinstance(value, int | float) and value < 0:
        raise ValueError(f"the field '{field.name}' is {value!r}; it must not be negative")
    return value


class Ledger(Journal):
    """A folder of record files, usually `results/runs` of the repository."""

    def read(self, slug: str) -> tuple[list[Record], list[str]]:
        """The records of a paper in the order they were written, and one warning for each line that is amiss.

        A line that cannot be read, or is another paper's, is skipped; a second record of the same run is kept, as the
        one that counts (see `current`). Nothing is amiss with one that has metrics which the first lacks: it was made
        for them.

        Raises:
            UserError: the file exists and cannot be opened.
        """

        def parse(line: str) -> Record:
            record = Record.parse(line)
            if record.paper != slug:
                raise ValueError(f"it is of the paper '{record.paper}'")
            return record

        found, warnings = self.entries(slug, parse, "record")
        known: dict[Key, tuple[int, Record]] = {}
        for number, record in found:
            earlier, same = known.setdefault(record.key, (number, record))
            if record.metrics.keys() - same.metrics.keys():
                known[record.key] = number, record
            elif earlier != number:
                run = f"{record.experiment}/{record.arm} seed {record.seed}"
                said = f"{run} is on record in line {earlier} already; the last record counts"
                warnings.append(f"{self.path(slug)}:{number}: {said}")
        return [record for _, record in found], warnings

    def append(self, record: Record) -> None:
        """Adds one line, whole or not at all, and waits until it is on the disk.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        self.write(record.paper, record.line())


def current(records: Iterable[Record]) -> list[Record]:
    """The records that stand: of each arm and recipe file those of its latest recipe, one a seed.

    An arm whose recipe changed starts anew; its older lines stay in the file and count no more. If a run was repeated,
    because its data changed or by two people at once, the last line counts.
    """
    records = list(records)
    latest = {_place(r): r.recipe_hash for r in records}
    standing = [r for r in records if latest[_place(r)] == r.recipe_hash]
    return list({(*_place(r), r.seed): r for r in standing}.values())


def _place(record: Record) -> tuple[str, ...]:
    # A property has one check, whose module may move; a comparison may have records of several recipe files.
    recipe = "" if record.benchmark == "property" else record.recipe
    return record.paper, record.experiment, recipe, record.arm


T = TypeVar("T")


def select(records: Iterable[T], **fields: Any) -> list[T]:
    """The records (or runs) whose fields have the given values, as in select(records, experiment="main", arm="p01")."""
    return [r for r in records if all(getattr(r, name) == value for name, value in fields.items())]
