"""A child ends with the process that started it, and so do its own children."""

import multiprocessing
import os
import select
import signal
from pathlib import Path

import pytest

from data import children

# The first child and one of its own hold the pipe open for as long as they live.
_SCRIPT = "exec 9>pipe; sleep 60 & echo started >&9; sleep 60"


def test_says_what_the_command_did(tmp_path: Path) -> None:
    done = children.run(["sh", "-c", "pwd; printf 'a\\377\\n' >&2; cat; exit 3"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path}\n", "a\ufffd\n")


def _run(folder: Path) -> None:
    children.run(["sh", "-c", _SCRIPT], folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_process(number: signal.Signals, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        process = multiprocessing.get_context("fork").Process(target=_run, args=(tmp_path,))
        process.start()
        assert select.select([pipe], [], [], 30)[0] and os.read(pipe, 100) == b"started\n"
        os.kill(process.pid, number)
        process.join(30)
        assert process.exitcode not in (0, None)
        # Nobody holds the pipe any more: its end is read.
        assert select.select([pipe], [], [], 30)[0] and os.read(pipe, 100) == b""
    finally:
        os.close(pipe)


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        children.run(["sh", "-c", "exec 9>pipe; sleep 60 >/dev/null 2>&1 &"], tmp_path)
        assert select.select([pipe], [], [], 30)[0] and os.read(pipe, 100) == b""
    finally:
        os.close(pipe)
