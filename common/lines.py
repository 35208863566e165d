"""Lines of texts and rows of tables: a line feed ends a line, and nothing else does.

`str.splitlines` breaks at form feeds, vertical tabs, U+0085, U+2028 and U+2029 too. Talks and the web are full of them,
and files that belong together line by line would drift apart.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

BOM = "\ufeff"


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their line feed and a carriage return before it, and without a byte-order mark."""
    lines = text.removeprefix(BOM).split("\n")
    if not lines[-1]:  # a line feed ends the last line, it begins no other
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_text(path: Path) -> str:
    """A whole file in UTF-8.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file in UTF-8, one at a time and as `split_lines` has them.

    Raises:
        UserError: the file cannot be read, or is not UTF-8; names the line.
    """
    for line in _raw_lines(path):
        yield line.removesuffix("\n").removesuffix("\r")


def read_table(path: Path, delimiter: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV or TSV file in UTF-8, the header among them; a quoted cell may hold line feeds.

    Raises:
        UserError: the file cannot be read, or a row has more or fewer cells than the first; names the line.
    """
    rows = csv.reader(_raw_lines(path), delimiter=delimiter)
    columns = 0
    try:
        for row in rows:
            columns = columns or len(row)
            if len(row) not in (0, columns):
                raise UserError(f"{path}:{rows.line_num}: {len(row)} cells; the first row has {columns}")
            if row:
                yield row
    except csv.Error as error:
        lone = "a carriage return ends a line; a line feed must" if "new-line character" in str(error) else error
        raise UserError(f"{path}:{rows.line_num}: {lone}") from None


def _raw_lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, start=1):
                if line := content.decode("utf-8-sig" if number == 1 else "utf-8"):
                    yield line
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start} of the line)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
