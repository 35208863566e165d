import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = """
import os, sys, time
from common.processes import on_processes

def asleep():
    open(f"{sys.argv[1]}/child-{os.getpid()}", "w").close()
    time.sleep(60)

on_processes(2, asleep)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone ends children with their parent")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Deaf to Ctrl-C, as the workers of a rerun are."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(root)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while len(children := list(tmp_path.glob("child-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    process.kill()
    process.wait()
    pids = [int(path.name.removeprefix("child-")) for path in children]
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(pid) for pid in pids)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
