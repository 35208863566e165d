"""How `papers fit` ends when a signal comes, on one process and on two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness import cli
from harness.fitting.watch import Watch
from harness.recipes.catalog import REPOSITORY

MODULE = """
import os, time
from toylab import Repeat

class Signalled(Repeat):
    \"\"\"Gets a signal at step 3, on one of the processes.\"\"\"

    def __init__(self, signal: int = 15, rank: int = 0, **other) -> None:
        super().__init__(**other)
        self.signal, self.rank = signal, rank

    def training_step(self, batch, batch_idx):
        if self.global_step == 3 and self.trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.signal)
        return super().training_step(batch, batch_idx)
"""
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {repository!r}]
from harness.cli import main
sys.exit(main(sys.argv[1:], Path({root!r})))
"""
OPTIONS = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]


@pytest.fixture
def house(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy paper, whose training gets a signal."""
    (toy_root / "signalled.py").write_text(MODULE)
    mini = toy_root / "papers/toys/toy/mini.yaml"
    mini.write_text(mini.read_text().replace("toylab.Repeat", "signalled.Signalled"))
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    monkeypatch.chdir(toy_root)
    return toy_root


def saved_step(root: Path) -> int:
    (path,) = root.rglob("last.ckpt")
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_fit_with_its_code_and_a_checkpoint(
    house: Path, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    words = ["fit", "toy", "--model.signal", str(int(number)), *OPTIONS]
    assert cli.main(words, house) == code
    assert saved_step(house) == 4
    assert capsys.readouterr().err.splitlines() == [
        "papers: checkpoint of step 4: logs/toy/fit/version_0/checkpoints/last.ckpt",
        f"papers: toy: ended by a signal; `papers {' '.join(words)} --resume` goes on",
    ]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_without_checkpoints_none_is_saved(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "toy", "--trainer.enable_checkpointing", "false", *OPTIONS], house) == 143
    assert capsys.readouterr().err == "papers: toy: ended by a signal\n"
    assert not list(house.rglob("*.ckpt"))


def test_a_checkpoint_every_so_often(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch.__init__, "__defaults__", (0.0, 60.0))
    options = ["--model.rank", "1", "--trainer.max_steps", "7", "--trainer.limit_val_batches", "0", *OPTIONS]
    assert cli.main(["fit", "toy", *options], house) == 0
    assert saved_step(house) == 7


def test_a_signal_to_one_of_two_processes_ends_both(house: Path) -> None:
    script = house / "run.py"
    script.write_text(SCRIPT.format(root=str(house), repository=str(REPOSITORY)))
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.rank", "1"]
    words = [sys.executable, str(script), "fit", "toy", *two, *OPTIONS]
    run = subprocess.Popen(words, cwd=house, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, err = run.communicate(timeout=120)  # returns once both processes have closed it
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    assert run.returncode == 143, err
    assert saved_step(house) == 4


SCONTROL = """#!/bin/sh
echo "$@" >> {said}
kill -TERM $PPID
"""


@pytest.fixture
def slurm(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of one task; SLURM ends it as soon as it is put back into the queue. Returns what was asked of SLURM."""
    said, tools = house / "said.txt", house / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(SCONTROL.format(said=said))
    (tools / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    task = {"NTASKS": 1, "NTASKS_PER_NODE": 1, "NNODES": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in {**task, "JOB_ID": 4711, "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    return said


def test_slurms_signal_saves_and_requeues_and_the_requeued_job_goes_on(
    house: Path, slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fit", "toy", "--model.signal", str(int(signal.SIGUSR1)), *OPTIONS]
    before = signal.getsignal(signal.SIGUSR1)
    assert cli.main(words, house) == 143
    assert slurm.read_text() == "requeue 4711\n"
    (saved,) = house.rglob("hpc_ckpt_1.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] == 4  # of a whole step, not of the middle of one
    assert saved_step(house) == 5 and signal.getsignal(signal.SIGUSR1) is before
    capsys.readouterr()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert cli.main(words, house) == 0
    out, err = capsys.readouterr()
    assert "the job was requeued; going on from" in err and "after step 8:" in out
    assert saved_step(house) == 8 and slurm.read_text() == "requeue 4711\n"
    assert len(list((house / "logs/toy/fit").iterdir())) == 1
