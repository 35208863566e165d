"""The user's own data, read by Hugging Face `datasets`: rows that stay on the disk, each with the file it is from.

No code of a data set is ever run: files are read by the builders of the library itself, and what the hub gives by its
converted files. Sounds are never decoded by `datasets`, which takes a library more for it.
"""

import bisect
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import UserError
from common.lines import read_lines, read_table
from common.paths import as_path
from data.cache import cache_root, clear_disk_errors

if TYPE_CHECKING:
    from datasets import Dataset

Media = Literal["image", "audio"]
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
"""What the splits of a data set are called by those who keep them."""
TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class Part:
    """Rows of one file, folder or split of a saved data set."""

    name: str
    """As the user knows it."""
    folder: Path
    """Where relative paths in its rows start from."""
    rows: "Dataset"
    media: Media | None = None
    """Where a row is a file itself, the column with its path."""
    beside: tuple[str, ...] = ()
    """Files and folders beside the rows that give none."""


class Source:
    """The rows of one split, one part after the other; they are read from the disk when they are asked for."""

    def __init__(self, parts: Sequence[Part]) -> None:
        from datasets import concatenate_datasets

        self.parts = [part for part in parts if len(part.rows)]
        if not self.parts:
            raise UserError(f"{parts[0].name}: holds no rows")
        first = self.parts[0]
        for part in self.parts[1:]:
            if set(part.rows.column_names) != set(first.rows.column_names):
                raise UserError(
                    f"{part.name}: its columns are {', '.join(part.rows.column_names)}; those of {first.name} are "
                    f"{', '.join(first.rows.column_names)}"
                )
        self.rows = first.rows if len(self.parts) == 1 else concatenate_datasets([part.rows for part in self.parts])
        self.starts = [sum(len(part.rows) for part in self.parts[:i]) for i in range(len(self.parts))]
        self._columns: dict[str, Dataset] = {}

    @property
    def name(self) -> str:
        return self.parts[0].name

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def columns(self) -> list[str]:
        return list(self.rows.column_names)

    def part(self, index: int) -> tuple[Part, int]:
        """The part that a row stands in, and its place there."""
        at = bisect.bisect_right(self.starts, index) - 1
        return self.parts[at], index - self.starts[at]

    def where(self, index: int) -> str:
        """File and row, counted from 1 and without a header; of a folder of files the file."""
        part, place = self.part(index)
        if part.media is not None:
            return shown(Path(part.rows[place][part.media]["path"]))
        return f"{part.name}, row {place + 1}"

    def cells(self, column: str, rows: Sequence[int]) -> list[Any]:
        """A column's values in some rows."""
        if column not in self._columns:  # kept, as to select it copies all that is known of the rows
            self._columns[column] = self.rows.select_columns([column])
        return self._columns[column][list(rows)][column]

    def batches(self, columns: Sequence[str], size: int = 1000) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """All rows in order, some at a time: the number of the first, and the values by column."""
        rows, start = self.rows.select_columns(list(columns)), 0
        for batch in rows.iter(size):
            yield start, batch
            start += len(next(iter(batch.values())))


def shown(path: Path) -> str:
    """A path as one would type it from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def split_of(name: str) -> str | None:
    """The split that a file or folder is named after: "train-00000-of-00002" is of "train"."""
    stem = re.split(r"[-_.\d]", name.lower())[0]
    return next((split for split, names in SPLITS.items() if stem in names), None)


def read_own(
    path: str, option: str, media: Media | None = None, subset: str | None = None, root: str | None = None
) -> dict[str, Source]:
    """Own data by split: "train" alone where no others are given.

    Args:
        path: a file (csv, tsv, json, jsonl, parquet), a folder of such files, of pictures or of sounds, a data set
            that `datasets` saved, or, where nothing is there by that name, a data set of the hub as "owner/name".
        option: that `path` was given for, as in "data.path".
        media: what a folder is searched for.
        subset: of a data set of the hub.
        root: folder that a relative path starts from.

    Raises:
        UserError: there is nothing there, it cannot be read, or it holds no rows; names file and row.
    """
    if not path.strip():
        raise UserError(
            f"{option} is missing; it must be a csv, tsv, json, jsonl or parquet file, a folder, a data set saved by "
            "`datasets`, or the name of one on the hub"
        )
    place = as_path(path, option)
    if root is not None and not place.is_absolute():
        place = as_path(root, "data.data_root") / place
    with _quiet(), clear_disk_errors():
        if place.is_file():
            return {"train": Source([_table(place)])}
        if not place.is_dir():
            return _of_hub(path, option, subset)
        if any((place / file).is_file() for file in ("dataset_dict.json", "state.json")):
            return _saved(place)
        return _of_folder(place, option, media)


def read_file(path: Path) -> Source:
    """The rows of one csv, tsv, json, jsonl or parquet file.

    Raises:
        UserError: as `read_own`.
    """
    if not path.is_file():
        raise UserError(f"{shown(path)} {'is a folder; it must be a file' if path.is_dir() else 'does not exist'}")
    with _quiet(), clear_disk_errors():
        return Source([_table(path)])


def of_columns(rows: "Dataset", media: Media | None = None) -> "Dataset":
    """The rows with pictures and sounds as they are stored, {"bytes", "path"}, and not decoded."""
    from datasets import Audio, Image

    for name, kind in rows.features.items():
        if isinstance(kind, Image | Audio) and kind.decode:
            rows = rows.cast_column(name, type(kind)(decode=False))
    return rows


def _of_folder(place: Path, option: str, media: Media | None) -> dict[str, Source]:
    folders: dict[str, list[Path]] = {}
    below = [path for path in _visible(place.iterdir()) if path.is_dir()]
    for folder in below:
        if split := split_of(folder.name):
            folders.setdefault(split, []).append(folder)
    if "train" in folders:
        others = tuple(shown(path) for path in below if split_of(path.name) is None)
        parts = {split: [_flat(one, option, media) for one in found] for split, found in folders.items()}
        parts["train"][0] = replace(parts["train"][0], beside=(*parts["train"][0].beside, *others))
        return {split: Source(found) for split, found in parts.items()}
    if (
        folders
        and media
        and sum(map(len, folders.values())) == sum(path.is_dir() for path in _visible(place.iterdir()))
    ):
        raise UserError(f"{shown(place)}: has {' and '.join(sorted(folders))} and nothing to train on, such as train")
    metadata = any((place / file).is_file() for file in _METADATA)
    tables = sorted(path for path in place.iterdir() if path.suffix.lower() in TABLES and path.is_file())
    if tables and not (metadata and media):
        files: dict[str, list[Path]] = {}
        for path in tables:
            files.setdefault(split_of(path.stem) or "train", []).append(path)
        if "train" not in files:
            raise UserError(f"{shown(place)}: has {tables[0].name} and nothing to train on, such as train.csv")
        return {split: Source([_table(one) for one in found]) for split, found in files.items()}
    return {"train": Source([_flat(place, option, media)])}


def _flat(place: Path, option: str, media: Media | None) -> Part:
    """A folder of one split."""
    from datasets import Dataset, load_dataset

    name = shown(place)
    there = Path(os.path.normpath(place.absolute()))  # as `datasets` writes paths, with no link followed
    metadata = [place / file for file in _METADATA if (place / file).is_file()]
    if media == "audio" and metadata:
        part = _table(metadata[0])
        if "file_name" not in part.rows.column_names:
            raise UserError(f"{part.name}: there is no column 'file_name'")
        return Part(part.name, place, part.rows.rename_column("file_name", "audio"))
    if media == "audio":
        found = sorted(path for path in there.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
        rows = [{"audio": {"bytes": None, "path": str(path)}, "label": path.parent.name} for path in found]
        if rows:
            return Part(name, place, Dataset.from_list(rows), media, _beside(there, found))
    if media == "image":
        try:
            rows = load_dataset(
                "imagefolder", data_files={"train": f"{_escaped(place)}/**"}, split="train", **_cached()
            )
        except Exception as error:
            _check_names(place)
            if metadata:
                raise UserError(f"{shown(metadata[0])}: {_one_line(error)}") from None
            raise UserError(f"{option} is '{name}', a folder without pictures") from None
        rows = of_columns(rows)
        if metadata:
            return Part(shown(metadata[0]), place, rows)
        return Part(name, place, rows, media, _beside(there, [Path(cell["path"]) for cell in rows["image"]]))
    tables = sorted(path for path in place.iterdir() if path.suffix.lower() in TABLES and path.is_file())
    if len(tables) == 1:
        return _table(tables[0])
    wanted = {"audio": "sounds", None: "a csv, tsv, json, jsonl or parquet file"}[media]
    raise UserError(f"{option} is '{name}', a folder without {wanted}")


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Without what a system keeps for itself, in order."""
    return sorted(path for path in paths if not path.name.startswith((".", "__")))


def _beside(place: Path, found: Sequence[Path]) -> tuple[str, ...]:
    """What lies in a folder of pictures or sounds and is none by its name, is a dead link, or is a folder of none."""
    known = {place, *found}
    known |= {folder for path in found for folder in path.parents}
    return tuple(shown(path) for path in _visible(place.rglob("*")) if path not in known and path.parent in known)


def _check_names(place: Path) -> None:
    """Raises a UserError for the first name in a folder that `datasets` could not write down."""
    for path in sorted(place.rglob("*")):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            name = str(shown(path)).encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UserError(f"{name}: its name is not UTF-8") from None


def _escaped(place: Path) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", str(place))


def _cached() -> dict[str, str]:
    return {"cache_dir": str(cache_root() / "own")}


def _table(path: Path) -> Part:
    """A file of rows.

    Raises:
        UserError: another kind of file, not UTF-8, not well formed, or empty; names the line where it can be told.
    """
    from datasets import Features, Value, load_dataset

    name, kind = shown(path), TABLES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{name}: its name must end in {', '.join(TABLES)}")
    if path.stat().st_size == 0:
        raise UserError(f"{name}: is empty")
    options: dict[str, Any] = {}
    if kind == "csv":
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = read_table(path, separator)
        header = next(rows, [])
        # A first row that is longer than the header would lend its first cell as the name of the row.
        if next(rows, None) is None:
            raise UserError(f"{name}: holds no rows")
        if len(set(header)) < len(header) or not any(header):
            raise UserError(f"{name}:1: the columns are {', '.join(header)}; each needs a name of its own")
        # Texts as they are written: numbers would lose their zeros, and "None" and "NA" are words.
        options = {"features": Features({column: Value("string") for column in header})}
        options |= {"sep": separator, "keep_default_na": False}
    if kind != "parquet":
        for _ in read_lines(path):  # not UTF-8 is told with its line
            pass
    try:
        if kind == "parquet":
            from data.parquet import Rows

            builder = Rows(data_files={"train": _escaped(path)}, **_cached())
            builder.download_and_prepare()
            rows = builder.as_dataset("train")
        else:
            rows = load_dataset(kind, data_files=_escaped(path), split="train", **_cached(), **options)
    except Exception as error:
        _locate(path, kind, _one_line(error))
        if isinstance(error, StopIteration) or "corresponds to no data" in str(error):
            raise UserError(f"{name}: holds no rows") from None
        raise UserError(f"{name}: cannot be read: {_one_line(error)}") from None
    return Part(name, path.parent, of_columns(rows))


def _locate(path: Path, kind: str, said: str) -> None:
    """Raises a UserError with the line of what is not well formed, where it finds it.

    Args:
        said: by what reads it.
    """
    if kind == "csv":
        for _ in read_table(path, "\t" if path.suffix.lower() == ".tsv" else ","):
            pass
        if opened := re.search(r"EOF inside string starting at row (\d+)", said):  # counted from 0
            raise UserError(f"{shown(path)}:{int(opened[1]) + 1}: a quotation mark is opened there and never closed")
    if kind == "json" and path.suffix.lower() != ".json":
        for number, line in enumerate(read_lines(path), start=1):
            try:
                row = json.loads(line or "null")
                json.dumps(row, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                half = f"\\u{ord(error.object[error.start]):04x}"
                raise UserError(f"{shown(path)}:{number}: holds {half}, one half of a character") from None
            except ValueError as error:
                raise UserError(f"{shown(path)}:{number}: not valid JSON ({error})") from None
            if row is not None and not isinstance(row, dict):
                raise UserError(f'{shown(path)}:{number}: must be an object, such as {{"column": "text"}}')


def _saved(place: Path) -> dict[str, Source]:
    from datasets import Dataset, load_from_disk

    try:
        found = load_from_disk(str(place))
    except Exception as error:
        raise UserError(f"{shown(place)}: cannot be read: {_one_line(error)}") from None
    return _by_split(shown(place), place, {"train": found} if isinstance(found, Dataset) else dict(found))


def _of_hub(path: str, option: str, subset: str | None) -> dict[str, Source]:
    from datasets import load_dataset
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    absent = UserError(f"{option} is '{path}'; there is no such file or folder")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path) or path.startswith(".") or Path(path).suffix.lower() in TABLES:
        raise absent
    try:
        if not HF_HUB_OFFLINE:
            HfApi().dataset_info(path, timeout=10)  # asks once; what loads would ask for half a minute
        found = load_dataset(path, subset, **_cached())
    except Exception as error:
        raise UserError(f"{absent}, and the hub does not give it: {_one_line(error)}") from None
    return _by_split(path, Path.cwd(), dict(found))


def _by_split(name: str, place: Path, found: "dict[str, Dataset]") -> dict[str, Source]:
    sources = {
        split: Source([Part(f"{name} ({own})", place, of_columns(found[own]))])
        for own in found
        if (split := split_of(own)) is not None
    }
    if "train" not in sources and len(found) == 1:
        own = next(iter(found))
        return {"train": Source([Part(f"{name} ({own})", place, of_columns(found[own]))])}
    if "train" not in sources:
        raise UserError(f"{name}: has no split 'train'; it has {', '.join(found)}")
    return sources


def _one_line(error: BaseException) -> str:
    """What went wrong at first: `datasets` wraps the error that says it in others that do not."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and tracebacks of `datasets` on the console; what is wrong is told by one error."""
    import pyarrow
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from datasets.utils import logging as messages

    level, bars = messages.get_verbosity(), not are_progress_bars_disabled()
    messages.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        pyarrow.default_memory_pool().release_unused()  # a file may have been read in parts of a hundred megabytes
        messages.set_verbosity(level)
        if bars:
            enable_progress_bars()
