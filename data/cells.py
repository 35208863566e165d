"""Cells of tables that hold a picture or a sound: a path, bytes, or both as `datasets` keeps them."""

from pathlib import Path
from typing import Any

from common.errors import UserError


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


def named(value: Any) -> str:
    """The path as the table has it, after a blank; nothing of bytes, nor where the row itself is a file."""
    return f" {value}" if isinstance(value, str) and value.strip() else ""
