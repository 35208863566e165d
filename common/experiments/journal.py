"""Files of one JSON object a line, one file a paper: appended, read strictly, and never rewritten by what appends."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

LONGEST_INTEGER = 20
"""Digits; a count or a seed has fewer, and a longer one would not fit a float."""


def parse_object(line: str) -> dict[str, Any]:
    """The JSON object of a line, as strictly as JSON itself is.

    Raises:
        ValueError: says what is wrong: no JSON, no object, a key given twice, a number that is not finite (NaN,
            Infinity, 1e999) or too long, brackets nested too deeply.
    """

    def constant(text: str) -> float:
        raise ValueError(f"{text} is not a number")

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text[:20]} is not finite")
        return value

    def integer(text: str) -> int:
        if len(text) > LONGEST_INTEGER:
            raise ValueError(f"{text[:20]}... has {len(text)} digits")
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key '{key}' is given twice")
            found[key] = value
        return found

    try:
        data = json.loads(line, parse_constant=constant, parse_float=real, parse_int=integer, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


class Journal:
    """A folder with one such file a paper.

    Args:
        folder: made at the first append.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, slug: str) -> Path:
        return self.folder / f"{slug}.jsonl"

    def slugs(self) -> list[str]:
        """The papers that have a file."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def entries(self, slug: str, parse: Callable[[str], T], what: str) -> tuple[list[tuple[int, T]], list[str]]:
        """The lines of a paper with their numbers, in the order they were written; a warning for each unreadable one.

        Args:
            parse: makes an entry of a line, or raises ValueError that says what is wrong with it.
            what: what a line is, for the warnings: "record".

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
        found, warnings = [], []
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                found.append((number, parse(line.decode("utf-8"))))
            except ValueError as error:
                reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                reason = reason if len(reason) <= 300 else f"{reason[:300]} ..."  # some quote what stands there
                warnings.append(f"{path}:{number}: skipped a broken {what}: {reason}")
        return found, warnings

    def check_writable(self, slug: str) -> None:
        """Raises: UserError if a line could not be appended; asked before any training starts."""
        with self._open(slug):
            pass

    def write(self, slug: str, text: str) -> None:
        """Adds one line, whole or not at all, and waits until it is on the disk.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        with self._open(slug) as descriptor:
            size = os.fstat(descriptor).st_size
            # After a power cut the last line may be half of one: it stays as it is, and this one starts afresh.
            fresh = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            line = (b"" if fresh else b"\n") + text.encode("utf-8") + b"\n"
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(descriptor)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise UserError(f"{self.path(slug)}: cannot be written: {error.strerror}") from None

    def rewrite(self, slug: str, change: Callable[[str], str]) -> int:
        """Puts what `change` makes of each line in its place, the whole file or nothing; returns how many it changed.

        A line that `change` raises ValueError for stays as it is, broken ones among them.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        path = self.path(slug)
        if not path.exists():
            return 0
        with self._open(slug):
            lines = path.read_bytes().split(b"\n")
            changed = [_changed(line, change) for line in lines]
            if changed != lines:
                new = path.with_suffix(".new")
                try:
                    with new.open("wb") as file:
                        file.write(b"\n".join(changed))
                        file.flush()
                        os.fsync(file.fileno())
                    new.replace(path)
                except OSError as error:
                    new.unlink(missing_ok=True)
                    raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        return sum(a != b for a, b in zip(lines, changed, strict=True))

    @contextlib.contextmanager
    def _open(self, slug: str) -> Iterator[int]:
        path = self.path(slug)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = _locked(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _changed(line: bytes, change: Callable[[str], str]) -> bytes:
    try:
        return change(line.decode("utf-8")).encode("utf-8") if line.strip() else line
    except ValueError:
        return line


def _locked(path: Path) -> int:
    """Opens a file for this process alone; closing frees it, also when the process is killed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        if sys.platform == "win32":  # has no such locks; one O_APPEND write a line still keeps lines apart
            return descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # While this waited the file may have been rewritten, and be another.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
