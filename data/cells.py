"""Cells of tables that hold a picture or a sound: a path, bytes, or both as `datasets` keeps them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from data.readers import Source


def stored(value: Any, folder: Path) -> Path | bytes:
    """Where the picture or sound of a cell is: its bytes, or its path from a folder.

    Args:
        value: a path, bytes, or {"bytes", "path"} as `datasets` keeps it.

    Raises:
        UserError: it is none of them, or empty; says no place.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value.strip():
        return folder / value.strip()
    raise UserError("is empty" if value in (None, "", b"") or str(value).isspace() else "is neither a path nor bytes")


def places(source: Source, column: str, rows: Sequence[int], root: Path | None) -> list[Path | bytes]:
    """Where the pictures or sounds of some rows are, see `stored`.

    Args:
        root: folder that relative paths start from; by default that of the rows' file.
    """
    values = source.cells(column, rows)
    return [stored(value, root or source.part(row)[0].folder) for row, value in zip(rows, values, strict=True)]


def named(value: Any) -> str:
    """The path as the table has it, after a blank; nothing of bytes, nor where the row itself is a file."""
    return f" {value}" if isinstance(value, str) and value.strip() else ""
