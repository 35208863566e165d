"""The record of what was run: one line of JSON a run, in results/runs/<slug>.jsonl, appended and never rewritten."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: one O_APPEND write a record still keeps lines apart
    fcntl = None


class Key(NamedTuple):
    """What makes two runs the same run."""

    paper: str
    experiment: str
    arm: str
    seed: int
    recipe_hash: str
    data_hash: str


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

    @property
    def key(self) -> Key:
        return Key(self.paper, self.experiment, self.arm, self.seed, self.recipe_hash, self.data_hash)

    def line(self) -> str:
        """The record as one line of JSON, without the line feed. Raises: ValueError if a metric is not finite."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, line: str) -> "Record":
        """Raises: ValueError that says what is wrong. Fields of a later version are ignored."""
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in data:
                raise ValueError(f"the field '{field.name}' is missing")
            value = data[field.name]
            wanted = {"metrics": dict, "versions": dict}.get(field.name, field.type)
            if wanted is float and type(value) is int:
                value = float(value)
            if type(value) is not wanted:
                raise ValueError(f"the field '{field.name}' is {value!r}, not of type {wanted.__name__}")
            values[field.name] = value
        for name, value in values["metrics"].items():
            if type(value) not in (int, float):
                raise ValueError(f"the metric '{name}' is {value!r}, not a number")
        return cls(**values)


class Ledger:
    """A folder of record files.

    Args:
        folder: usually `results/runs` of the repository; made at the first append.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, slug: str) -> Path:
        return self.folder / f"{slug}.jsonl"

    def slugs(self) -> list[str]:
        """The papers that have a record file."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def read(self, slug: str) -> tuple[list[Record], list[str]]:
        """The records of a paper in the order they were written, and one warning for each line that cannot be read.

        Raises:
            UserError: the file exists and cannot be opened.
        """
        path = self.path(slug)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        records, warnings = [], []
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                records.append(Record.parse(line.decode("utf-8")))
            except ValueError as error:
                reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
                warnings.append(f"{path}:{number}: skipped a broken record: {reason}")
        return records, warnings

    def check_writable(self, slug: str) -> None:
        """Raises: UserError if a record could not be appended; asked before any training starts."""
        with self._open(slug):
            pass

    def append(self, record: Record) -> None:
        """Adds one line, whole or not at all, and waits until it is on the disk.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        with self._open(record.paper) as descriptor:
            size = os.fstat(descriptor).st_size
            # After a power cut the last line may be half a record: it stays as it is, and this one starts afresh.
            fresh = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            line = (b"" if fresh else b"\n") + record.line().encode("utf-8") + b"\n"
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(descriptor)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise UserError(f"{self.path(record.paper)}: cannot be written: {error.strerror}") from None

    @contextlib.contextmanager
    def _open(self, slug: str) -> Iterator[int]:
        path = self.path(slug)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # released by closing, also when the process is killed
            yield descriptor
        finally:
            os.close(descriptor)


def current(records: Iterable[Record]) -> list[Record]:
    """The records that stand: of each arm and recipe file those of its latest recipe, one a seed.

    An arm whose recipe changed starts anew; its older lines stay in the file and count no more. If a run was repeated,
    because its data changed or by two people at once, the last line counts.
    """
    records = list(records)
    latest = {(r.paper, r.experiment, r.recipe, r.arm): r.recipe_hash for r in records}
    standing = [r for r in records if latest[r.paper, r.experiment, r.recipe, r.arm] == r.recipe_hash]
    return list({(r.paper, r.experiment, r.recipe, r.arm, r.seed): r for r in standing}.values())


T = TypeVar("T")


def select(records: Iterable[T], **fields: Any) -> list[T]:
    """The records (or runs) whose fields have the given values, as in select(records, experiment="main", arm="p01")."""
    return [r for r in records if all(getattr(r, name) == value for name, value in fields.items())]
