"""Who does which run: two runners on one folder of results share its runs instead of doing each twice."""

import hashlib
import os
import sys
from pathlib import Path

from common.errors import UserError

if sys.platform != "win32":
    import fcntl


class RunLocks:
    """Locks on names, each a byte of one file; whoever holds them, they are free when its process ends, however.

    Args:
        path: the file; it stays empty.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened once: closing any descriptor of the file would free all locks of this process.
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> "RunLocks":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def take(self, name: str) -> bool:
        """Whether the name is ours now; False while another process has it."""
        if sys.platform == "win32":  # two runners do a run twice, and the reader says so
            return True
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(name))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a file system without locks
        return True

    def free(self, name: str) -> None:
        if sys.platform != "win32":
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, _offset(name))


def _offset(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
