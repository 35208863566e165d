"""Writing files so that nobody ever reads half of one."""

import os
import tempfile
from pathlib import Path

from common.errors import UserError

HOME = Path(__file__).resolve().parents[1]
"""The repository, or where the package is installed."""


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or leaves it as it was.

    Raises:
        UserError: no permission, or the disk is full.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=path.parent, delete=False) as file:
            part = Path(file.name)
            file.write(text)
        part.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def is_installed(root: Path) -> bool:
    """Whether only the package is here, and no checkout of the repository that commands could write into."""
    return root == HOME and not (root / "pyproject.toml").is_file()


def workplace(root: Path) -> Path:
    """Where logs and records go: into the repository; where only the package is installed, into the current folder."""
    return Path.cwd() if is_installed(root) else root


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
