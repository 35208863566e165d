"""Runs a child process that ends with this one, however this one ends."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# The shell becomes the command, as the leader of a group of its own. What it leaves behind waits for the end of file on
# a pipe whose other end this process alone holds: the system closes that also where this process is killed, and then
# the whole group is, with the children of the command.
_SCRIPT = """
exec 3<&0 </dev/null
(read -r line <&3; kill -s KILL -- "-$$") >/dev/null 2>&1 &
exec "$@" 3<&-
"""


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, without input, and returns its exit code and what it printed.

    Neither it nor anything that it has started is left when this returns, raises, or the process is killed.
    """
    read, write = os.pipe()
    try:
        shell = ["/bin/sh", "-c", _SCRIPT, "sh", *command]
        with subprocess.Popen(
            shell,
            cwd=folder,
            stdin=read,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as child:
            try:
                output, errors = child.communicate()
            finally:
                os.close(write)
                write = -1
        return subprocess.CompletedProcess(command, child.returncode, output, errors)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
