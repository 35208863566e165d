"""Child processes that end when their parent does, however it ends."""

import ctypes
import os
import signal
import sys


def die_with(parent: int | None) -> bool:
    """Has the kernel kill this process when its parent ends; for Linux alone.

    Args:
        parent: the process id of the parent; one that is gone already ends this process at once.

    Returns:
        Whether the system can.
    """
    if sys.platform != "linux":
        return False
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if parent is not None and os.getppid() != parent:
        os._exit(1)  # it died before we asked
    return True
