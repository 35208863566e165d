"""The base of benchmarks on the user's own data: rows are checked, parted into splits, and stay on the disk."""

import math
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from common.benchmark import Benchmark, digest
from common.distributed import rank
from common.embedding.columns import Column
from common.errors import UserError
from common.paths import as_path
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.table import Rows, Table
from common.training.method import batches_read
from data.cache import checksum
from data.cells import places
from data.readers import TABLES, Media, Source, read_own

_DRAWN, _CHOSEN = 1, 2
SPLITS = ("train", "val", "test")
MANY = 10_000
"""Pictures or recordings whose check takes so long that it is told."""


class Lazy:
    """Items that are read when a slice of them is asked for.

    Args:
        count: how many there are.
        read: makes the items at some positions, int64 (n,), as a list or a tensor.
    """

    def __init__(self, count: int, read: Callable[[Tensor], Any]) -> None:
        self.count, self.read = count, read

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Any:
        if isinstance(index, slice):
            index = torch.arange(*index.indices(self.count))
        return self.read(torch.as_tensor(index))

    def to(self, device: torch.device | str) -> Tensor:
        """All of them at once, for a method that wants a tensor in memory."""
        return self[:].to(device)


class Part(NamedTuple):
    """The rows of a split that are used."""

    source: Source
    at: Tensor
    """Row of each in the source, int64 (n,)."""
    groups: Tensor
    """Rows with equal numbers say the same and are positives of each other, int64 (n,)."""
    ids: Tensor
    """Global sample ids, int64 (n,)."""


class Units:
    """The groups of a split. In each epoch one row of each is drawn, so that no two in a batch belong together."""

    def __init__(self, groups: Tensor) -> None:
        self.numbers, counts = groups.unique(return_counts=True)
        self.counts = counts
        self.order = groups.argsort(stable=True)
        self.starts = counts.cumsum(0) - counts

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, units: Tensor, *key: int) -> Tensor:
        """The position of a row of each unit, drawn by `key`, int64 (n,)."""
        drawn = (uniform(self.numbers[units], 1, *key, _CHOSEN).flatten() * self.counts[units]).long()
        return self.order[self.starts[units] + drawn]


class OwnData(Benchmark):
    """The base of benchmarks on the user's own data.

    Args:
        path: a file (csv, tsv, json, jsonl, parquet), a folder of files, a data set saved by `datasets`, or the name of
            one on the hub, as in "owner/name". A folder may hold `train`, `val` and `test`.
        val_path, test_path: where these splits lie, if not in `path`. What is given nowhere is drawn from the rest.
        subset: of a data set on the hub.
        val_share, test_share: of what is drawn, in (0, 1).
        split_seed: draws the splits, the same for every `seed`.
        on_error: "raise" ends at the first row that cannot be used, naming it; "skip" leaves such rows out and says
            how many.
        check: "all" opens every picture and recording before anything is trained; "headers" looks at their beginnings
            alone, and a damaged one ends the training that meets it.
        workers: processes that read ahead and decode.
        batch_size, seed: as in `Benchmark`.
        data_root: folder that relative paths start from, in rows too; by default a path starts here, and one in a row
            from the folder of its file.
    """

    published = True
    own = True
    media: ClassVar[Media | None] = None
    """What a folder is searched for."""

    def __init__(
        self,
        *,
        path: str = "",
        val_path: str | None = None,
        test_path: str | None = None,
        subset: str | None = None,
        val_share: float = 0.1,
        test_share: float = 0.2,
        split_seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        check: Literal["all", "headers"] = "all",
        workers: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if not (val_share > 0 and test_share > 0 and val_share + test_share < 1):
            raise UserError(
                f"data.val_share and data.test_share are {val_share} and {test_share}; they must be above 0 and leave "
                "something to train on"
            )
        if on_error not in ("raise", "skip"):
            raise UserError(f"data.on_error is {on_error!r}; it must be 'raise' or 'skip'")
        if check not in ("all", "headers"):
            raise UserError(f"data.check is {check!r}; it must be 'all' or 'headers'")
        if workers < 0:
            raise UserError(f"data.workers is {workers}; it must be at least 0")
        self.path, self.val_path, self.test_path, self.subset = path, val_path, test_path, subset
        self.shares = {"val": val_share, "test": test_share}
        self.split_seed, self.on_error, self.check, self.workers = split_seed, on_error, check, workers
        self.left_out: Counter[str] = Counter()
        """Rows that were left out, by why."""
        self.first_left_out: dict[str, str] = {}
        """Where the first of each of these is."""
        self.splits: dict[str, Part] = {}

    # What a subclass says of its rows.

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The columns that there must be: by the argument that names each, its name in the data."""

    @abstractmethod
    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        """Why a row cannot be used, as in "caption is empty", or None.

        Args:
            row: the values of the columns that `read_columns` names.
            folder: where relative paths start from.
        """

    def read_columns(self, source: Source) -> list[str]:
        """The columns that a row's check looks at: by default those that must be there."""
        return list(dict.fromkeys(self.columns().values()))

    def keys(self, source: Source, at: Tensor) -> Iterator[Hashable] | None:
        """What rows that belong together have in common, of each of these rows; None where each is alone."""
        return None

    def media_keys(self, source: Source, at: Tensor, column: str) -> Iterator[Path | bytes]:
        """The path or bytes of the picture or recording in each of these rows."""
        for start in range(0, len(at), 500):
            yield from places(source, column, at[start : start + 500].tolist(), self.root())

    def strata(self, source: Source, at: Tensor) -> Tensor:
        """What is drawn from alike, such as classes, int64 (n,); by default all are of one kind."""
        return torch.zeros_like(at)

    # What all of them do with them.

    def prepare_data(self) -> None:
        self.setup()

    def sources_of(self) -> dict[str, Source]:
        """What the paths hold, by split."""
        found = read_own(self.path, "data.path", self.media, self.subset, self.data_root)
        for split, path in (("val", self.val_path), ("test", self.test_path)):
            if path is not None:
                there = read_own(path, f"data.{split}_path", self.media, self.subset, self.data_root)
                found[split] = there.get(split, there["train"])
        return {split: found[split] for split in SPLITS if split in found}

    def build(self) -> None:
        self.forget_left_out()
        found, first = {}, 0
        known: dict[str, list[int]] = {}
        for split, source in self.sources_of().items():
            at = self.checked(source)
            keys = self.keys(source, at)
            known[split] = [] if keys is None else [hash(key) for key in keys]
            groups = at if keys is None else at[first_of(known[split])]
            found[split] = Part(source, at, groups + first, at + first)
            first += len(source)
        self.splits = self.drawn(found)
        self.tell_left_out()
        for split in [name for name in known if name != "train"]:
            self.tell_shared(split, len(set(known[split]) & set(known["train"])))

    def forget_left_out(self) -> None:
        self.left_out.clear()
        self.first_left_out.clear()

    def tell_left_out(self) -> None:
        """Says how many rows are left out, and why, and what lies beside them and is no row."""
        if self.left_out:
            said = "; ".join(
                f"{count} because: {why} ({self.first_left_out[why]}{', the first' if count > 1 else ''})"
                for why, count in self.left_out.most_common(5)
            )
            tell(f"{self.path}: {self.left_out.total()} rows are left out, {said}")
        sources = {id(part.source): part.source for part in self.splits.values()}
        if beside := [name for source in sources.values() for part in source.parts for name in part.beside]:
            names = ", ".join(beside[:3]) + (", ..." if len(beside) > 3 else "")
            tell(f"{self.path}: {len(beside)} files or folders give no row: {names}")

    def tell_shared(self, split: str, count: int) -> None:
        """Says how many of what a split is scored on are trained on as well."""
        if count:
            tell(f"{self.path}: {count} of what {split} holds is in train as well; scores are too good by that")

    def check_differ(self, column: str, count: int) -> None:
        """Raises UserError where a column of the test split holds one thing alone, which any ranking puts first."""
        if count < 2:
            part = self.splits["test"]
            raise UserError(
                f"{part.source.name}: every {column} to test on is the same, that of "
                f"{part.source.where(int(part.at[0]))}; to rank there must be two that differ"
            )

    def checked(self, source: Source, required: Mapping[str, str] | None = None) -> Tensor:
        """The rows that can be used, int64 (n,).

        Args:
            required: columns that must be there; by default `columns`.

        Raises:
            UserError: a column is missing, a row cannot be used and `on_error` is "raise", or none can.
        """
        for option, column in (self.columns() if required is None else required).items():
            if column not in source.columns:
                has = ", ".join(source.columns)
                raise UserError(f"{source.name}: there is no column '{column}' (data.{option}); it has {has}")
        if self.media is not None and self.check == "all" and len(source) > MANY:
            what = f"{len(source):,} files of {source.name}"
            tell(f"opening {what}; data.check headers looks at their beginnings alone")
        good: list[int] = []
        for start, batch in source.batches(self.read_columns(source)):
            for place, fault in enumerate(self.faults(source, start, batch)):
                if fault is None:
                    good.append(start + place)
                elif self.on_error == "raise":
                    raise UserError(f"{source.where(start + place)}: {fault} (data.on_error skip leaves it out)")
                else:
                    self.left_out[fault] += 1
                    self.first_left_out.setdefault(fault, source.where(start + place))
        if not good:
            raise UserError(f"{source.name}: none of its {len(source)} rows can be used: {next(iter(self.left_out))}")
        return torch.tensor(good)

    def faults(self, source: Source, start: int, batch: Mapping[str, list[Any]]) -> list[str | None]:
        """The faults of some rows in order."""
        columns = list(batch)
        rows = zip(*(batch[column] for column in columns), strict=True)
        return [
            self.fault(dict(zip(columns, row, strict=True)), self.folder_of(source, start + i))
            for i, row in enumerate(rows)
        ]

    def root(self) -> Path | None:
        """The folder that relative paths start from, where one is given."""
        return None if self.data_root is None else as_path(self.data_root, "data.data_root")

    def folder_of(self, source: Source, index: int) -> Path:
        """Where relative paths in a row start from."""
        return self.root() or source.part(index)[0].folder

    def drawn(self, found: dict[str, Part]) -> dict[str, Part]:
        """The splits that are not given, drawn from the training rows; groups stay together."""
        train, wanted = found["train"], [split for split in ("val", "test") if split not in found]
        if not wanted:
            return found
        numbers, which = train.groups.unique(return_inverse=True)
        first = torch.full_like(numbers, len(which)).scatter_reduce_(0, which, torch.arange(len(which)), "amin")
        strata = self.strata(train.source, train.at)[first]
        order = uniform(train.at[first], 1, self.split_seed, _DRAWN).flatten().argsort(stable=True)
        split_of = torch.zeros_like(numbers)
        for stratum in strata.unique().tolist():
            members, start = order[strata[order] == stratum], 0
            if len(members) <= len(wanted):
                raise UserError(self.too_few(train.source, stratum, len(members), len(wanted) + 1))
            for number, split in enumerate(wanted, start=1):
                size = max(1, round(self.shares[split] * len(members)))
                split_of[members[start : start + size]] = number
                start += size
        for number, split in enumerate(["train", *wanted]):
            keep = split_of[which] == number
            found[split] = Part(train.source, *(column[keep] for column in train[1:]))
        return found

    def too_few(self, source: Source, stratum: int, found: int, wanted: int) -> str:
        """The message where a stratum does not give a group to each split."""
        return f"{source.name}: holds {found} that differ; to train on and to score on there must be {wanted}"

    def part(self, split: str) -> Part:
        self.setup()
        return self.splits[split]

    def texts(self, part: Part, column: str) -> Lazy:
        """A column of texts."""
        return Lazy(len(part.at), lambda at: texts_at(part, at, column))

    def names(self, part: Part, at: Tensor | None = None) -> list[str]:
        """File and row of each, or of those at some positions."""
        return [part.source.where(i) for i in (part.at if at is None else part.at[at]).tolist()]

    @abstractmethod
    def embedded_columns(self, split: str) -> list[Column]:
        """What of a split can be embedded, in the order of the data, named as the data name it."""

    def embeddable(self, split: str) -> dict[str, Column]:
        if split not in SPLITS:
            raise UserError(f"split is '{split}'; {self.name} has: {', '.join(SPLITS)}")
        self.setup()
        return {column.kind: column for column in self.embedded_columns(split)}

    def batch_kind(self, *kinds: type) -> type:
        """Which of these kinds of batches the method reads that is trained; the first where that is not known."""
        module = self.trainer.lightning_module if self.trainer is not None else None
        read = () if module is None else batches_read(module)
        return next((kind for kind in kinds if kind in read), kinds[0])

    def check_method(self, **there: int) -> None:
        """Compares what there is with what the method that is trained takes, where it says how much that is.

        Args:
            there: by the name of the method's argument: `channels` and `image_size` of pictures, how many `classes`.

        Raises:
            UserError: names both.
        """
        module = self.trainer.lightning_module if self.trainer is not None else None
        for name, value in there.items():
            taken = None if module is None else module.hparams.get(name)
            if isinstance(taken, int) and (taken < value if name == "classes" else taken != value):
                least = " at least" if name == "classes" else ""
                raise UserError(f"model.{name} is {taken}; for these data it must be {value}{least}")

    def loader(
        self, count: int, batch: Callable[[Rows, int, int], Any], order: GlobalBatchSampler | None = None
    ) -> ResumableLoader:
        """Batches of `count` samples, made of their positions, the seed and the epoch.

        Args:
            batch: sent to the workers, so it holds no more than it needs.
            order: by default a new permutation each epoch.
        """
        if order is None:
            if count < self.batch_size:
                raise UserError(
                    f"data.batch_size is {self.batch_size}; {self.path} has {count} to train on that differ"
                )
            order = GlobalBatchSampler(count, self.batch_size, self.seed)
        make: Callable[[Rows, int, int], Any] = partial(_guarded, batch) if self.workers else batch
        return Table(Rows(torch.arange(count)), make).loader_over(order, self.workers)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Raises the error of a worker, which would come with its traceback if the worker raised it."""
        if isinstance(batch, UserError):
            raise batch
        return batch

    def train_dataloader(self) -> ResumableLoader:
        raise NotImplementedError

    def training_ids(self) -> Tensor:
        return self.part("train").ids

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(self.splits[split].at) for split in SPLITS}

    def fingerprint(self) -> str:
        """Of the files, of what of them is used, and how it is parted; of folders and files in rows names and sizes."""
        self.setup()
        files = [_identity(path, self.data_root) for path in (self.path, self.val_path, self.test_path) if path]
        splits = [tensor for split in SPLITS for tensor in self.splits[split][1:3]]
        return digest(self.name, files, self.settings(), *splits)

    def settings(self) -> tuple[object, ...]:
        """What else decides what is scored."""
        return tuple(sorted(self.columns().items()))


def tell(line: str) -> None:
    """Says a line on stderr, in the first of several processes."""
    if rank() == 0:
        print(f"papers: {line}", file=sys.stderr)


def _guarded(make: Callable[[Rows, int, int], Any], rows: Rows, seed: int, epoch: int) -> Any:
    """A batch made in a worker; a row that cannot be read after all is told by what comes in its place."""
    try:
        return make(rows, seed, epoch)
    except UserError as error:
        return error


def _identity(path: str, root: str | None) -> object:
    place = Path(path).expanduser()
    place = place if root is None else Path(root).expanduser() / place
    if place.is_file():
        return checksum(place)
    if place.is_dir():
        files = [file for file in sorted(place.rglob("*")) if file.is_file()]
        return [
            (str(file.relative_to(place)), checksum(file) if file.suffix.lower() in TABLES else file.stat().st_size)
            for file in files
        ]
    return path


def cells(part: Part, at: Tensor, column: str) -> list[Any]:
    """A column's values in the rows at these positions of a split."""
    return part.source.cells(column, part.at[at].tolist())


def texts_at(part: Part, at: Tensor, column: str) -> list[str]:
    """The same, as texts."""
    return [text_of(value) for value in cells(part, at, column)]


def texts_in(source: Source, at: Tensor, column: str) -> Iterator[str]:
    """The texts of a column in some rows of a source, given in ascending order; one after the other."""
    wanted = at.tolist()
    for start in range(0, len(wanted), 1000):
        for value in source.cells(column, wanted[start : start + 1000]):
            yield text_of(value)


def text_of(value: Any) -> str:
    """A cell's text without blanks at its ends."""
    return str(value).strip()


def text_fault(column: str, value: Any) -> str | None:
    """Why a cell is no text, or None; numbers are."""
    if isinstance(value, list | dict | bytes):
        return f"{column} is no text"
    return f"{column} is empty" if value is None or not str(value).strip() else None


def listed_texts(value: Any) -> list[str]:
    """The texts of a cell, which may hold one, a list, or none."""
    return [text_of(one) for one in (value if isinstance(value, list) else [value])
            if one is not None and str(one).strip()]  # fmt: skip


def number_in(value: Any) -> float | None:
    """The finite number that a cell holds, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def first_of(keys: Iterable[Hashable]) -> list[int]:
    """For each key the position at which the same one stands first."""
    first: dict[int, int] = {}
    # Hashes: a hundred thousand texts or pictures need not be kept for it.
    return [first.setdefault(hash(key), place) for place, key in enumerate(keys)]


def different(keys: Iterable[Hashable]) -> tuple[Tensor, Tensor]:
    """The positions of the different keys, each at its first, and for each key its number among them."""
    first = torch.tensor(first_of(keys))
    return first.unique(return_inverse=True)
