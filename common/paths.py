"""Paths as people write them."""

from pathlib import Path

from common.errors import UserError


def as_path(text: str | Path, name: str) -> Path:
    """`text` as a path, "~" and "~user" replaced.

    Args:
        name: the option or argument that it was given for, as in "--results" or "data.data_root".

    Raises:
        UserError: there is nothing in it, no such user or no home directory.
    """
    if not str(text).strip() or "\0" in str(text):
        raise UserError(f"{name} is {str(text)!r}; it must be a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{name} is '{text}', whose home directory is not known; write the path out") from None
