"""Vectors on their way to a file: parts that outlive the process, and the file made of them at once."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import UserError
from harness.console import shown_path
from harness.files import write_text

SUFFIXES = (".parquet", ".npy")


class Parts:
    """The vectors of consecutive rows, a file a part, in a folder beside the file that they will become.

    Args:
        out: that file, .parquet or .npy.
        plan: what decides the vectors, plain values; parts of another plan are not gone on from.
        ids: of all rows.
        rows: of each part.

    Raises:
        UserError: `out` exists or has another suffix, or there are parts of another plan.
    """

    def __init__(self, out: Path, plan: dict[str, Any], ids: list[int] | list[str], rows: int) -> None:
        self.out, self.ids, self.rows = out, ids, rows
        self.folder = out.with_name(f"{out.name}.parts")
        plan = plan | {"count": len(ids), "rows": rows}
        told = self.folder / "plan.json"
        if told.is_file():
            try:
                before = json.loads(told.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            other = [key for key in plan if before.get(key) != plan[key]]
            if other:
                raise UserError(
                    f"{shown_path(self.folder)} holds parts of another request: its {other[0]} was "
                    f"{before.get(other[0])!r} and is {plan[other[0]]!r}; remove it, or name another --out"
                )
        else:
            write_text(told, json.dumps(plan, indent=1))

    @property
    def count(self) -> int:
        return -(-len(self.ids) // self.rows)

    def span(self, part: int) -> slice:
        """The rows of a part."""
        return slice(part * self.rows, min((part + 1) * self.rows, len(self.ids)))

    def path(self, part: int) -> Path:
        return self.folder / f"{part:06}.npy"

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        return [part for part in range(self.count) if not self.path(part).is_file()]

    def write(self, part: int, vectors: np.ndarray) -> None:
        """Keeps the vectors of a part, whole or not at all.

        Raises:
            UserError: the disk is full, or there is no permission; the parts before stay.
        """
        with self._kept(), replacing(self.path(part)) as file:
            np.save(file, np.ascontiguousarray(vectors, dtype=np.float32))

    def read(self, part: int) -> np.ndarray:
        """The vectors of a part.

        Raises:
            UserError: the file is damaged.
        """
        at = self.span(part)
        try:
            vectors = np.load(self.path(part), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(
                f"{self.path(part)} is damaged ({error}); remove it, and the command makes it anew"
            ) from None
        if vectors.ndim != 2 or len(vectors) != at.stop - at.start:
            raise UserError(f"{self.path(part)} has shape {vectors.shape}; remove it, and the command makes it anew")
        return vectors

    def finish(self) -> list[Path]:
        """Makes the file, and one of ids beside an .npy, and removes the parts. Memory holds one part at a time."""
        width = self.read(0).shape[1]
        with self._kept():
            if self.out.suffix == ".npy":
                beside = self.out.with_name(f"{self.out.stem}.ids.npy")
                with replacing(beside) as file:
                    np.save(file, np.array(self.ids))
                with replacing(self.out) as file:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.ids), width)}
                    np.lib.format.write_array_header_1_0(file, header)
                    for part in range(self.count):
                        file.write(self.read(part).astype("<f4").tobytes())
                written = [self.out, beside]
            else:
                with replacing(self.out) as file:
                    self._parquet(file, width)
                written = [self.out]
        shutil.rmtree(self.folder)
        return written

    def _parquet(self, file: IO[bytes], width: int) -> None:
        kind = pa.string() if isinstance(self.ids[0], str) else pa.int64()
        schema = pa.schema([("id", kind), ("vector", pa.list_(pa.float32(), width))])
        with pq.ParquetWriter(file, schema) as writer:
            for part in range(self.count):
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.read(part).ravel()), width)
                ids = pa.array(self.ids[self.span(part)], kind)
                writer.write_table(pa.Table.from_arrays([ids, vectors], schema=schema))

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else error.strerror or str(error)
            raise UserError(
                f"{shown_path(self.out)}: cannot be written: {reason}; what is done stays in "
                f"{shown_path(self.folder)}, and the same command goes on from there"
            ) from None


def check_out(out: Path) -> None:
    """Whether vectors may be written there.

    Raises:
        UserError: another suffix, no such folder, or it exists.
    """
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out is '{out}'; it must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise UserError(f"--out: {out} exists; name another file, or remove it")
    if not out.parent.is_dir():
        raise UserError(f"--out: there is no folder {out.parent}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` at the end, on the disk by then; after an error there is none of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        part = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
