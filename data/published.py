"""Data sets of the published experiments: the user brings them, in the layout their authors distribute."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import as_path


class MissingData(UserError):
    """A published data set is not there, or not all of it."""

    def __init__(self, message: str, title: str, where: str, terms: str, files: Sequence[str], missing: Sequence[str]):
        super().__init__(message)
        self.title, self.where, self.terms = title, where, terms
        self.files, self.missing = tuple(files), tuple(missing)


def published_folder(data_root: str | None, *, title: str, files: Sequence[str], where: str, terms: str) -> Path:
    """The folder of a published data set, once every file it must hold is there.

    Args:
        data_root: the folder that the recipe or the command line names.
        title: the data set's name.
        files: paths inside the folder that must exist.
        where: where to get the data.
        terms: the terms it is given under.

    Raises:
        MissingData: says where to get the data, under which terms, and which layout is expected.
    """
    folder = as_path(data_root, "data.data_root") if data_root else None
    missing = [file for file in files if folder is None or not (folder / file).exists()]
    if folder is None or missing:
        given = f"data.data_root is {data_root!r}" if folder is None else f"{missing[0]} is not in {folder}"
        message = f"{title}: {given}; get it from {where} ({terms}) and point --data.data_root at a folder that holds "
        raise MissingData(message + ", ".join(files), title, where, terms, files, missing)
    return folder


def read_json(path: Path) -> Any:
    """What a JSON file in UTF-8 holds.

    Raises:
        UserError: the file cannot be read or is not JSON; says where.
    """
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None


def beside(lines: Sequence[Any], others: Sequence[Any], path: Path, other: Path) -> None:
    """Checks that two files that belong together line by line have as many. Raises: UserError that names both."""
    if len(lines) != len(others):
        raise UserError(f"{path} has {len(lines)} entries and {other} {len(others)}; they must have as many")
