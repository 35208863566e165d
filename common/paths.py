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


def checkpoint_path(text: str | Path, name: str) -> Path:
    """As `as_path`, of a file that is there.

    Raises:
        UserError: there is no such file; says what there is instead.
    """
    path = as_path(text, name)
    try:
        if path.is_file():
            return path
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    raise UserError(f"{name}: {str(path)[:200]} {what}; it must be a checkpoint, as `papers fit` writes them")
