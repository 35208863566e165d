"""Writing files so that nobody ever reads half of one."""

import os
import tempfile
from pathlib import Path

from common.errors import UserError


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
