import contextlib
import dataclasses
import errno
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import lightning
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from common.errors import UserError
from common.experiments.items import ItemLedger
from common.experiments.records import Ledger, select
from common.experiments.verdict import Verdict, judge
from common.training.checkpoint import read_checkpoint
from harness.fitting.checkpoint import check_origin
from harness.recipes.catalog import REPOSITORY, find
from harness.recipes.recipe import resolve
from harness.running import runner, worker
from harness.running.plan import plan
from harness.running.runner import execute

FAULTS = """\
      nan: {model: {init_args: {fault: nan}}}
      crash: {model: {init_args: {fault: crash}}}
      die: {model: {init_args: {fault: die}}}
"""


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def outcome_of(runs, ledger, workers=2):
    console = quiet()
    return execute(runs, ledger, workers, console=console), console.file.getvalue()


@pytest.fixture
def root(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    monkeypatch.chdir(toy_root)  # the checks leave files
    return toy_root


def test_runs_are_trained_scored_and_recorded_and_failures_do_not_stop_them(root):
    """One long test, since every worker must load torch: good and bad runs together, then the good ones once more."""
    path = root / "papers" / "toys" / "toy" / "paper.yaml"
    path.write_text(path.read_text().replace("    claims:\n", FAULTS + "    claims:\n"))
    card, ledger = find("toy", root), Ledger(root / "results" / "runs")
    todo = [
        r for r in plan(card, ledger, ["main", "exact"]).runs if r.seed < (2 if r.arm in ("repeat", "exact") else 1)
    ]
    outcome, shown = outcome_of(todo, ledger)
    good = {(r.arm, r.seed) for r in outcome.finished}
    assert good == {("repeat", 0), ("repeat", 1), ("plain", 0), ("untrained", 0), ("exact", 0), ("exact", 1)}

    # What failed is reported, with the step and the term or with the place of the traceback.
    assert outcome.exit_code == 2
    messages = {failure.run.arm: failure.message for failure in outcome.failed}
    assert set(messages) == {"nan", "crash", "die"}
    assert messages["nan"].startswith("step 2: the term 'error' is nan")
    assert messages["crash"].startswith("KeyError: 'no such thing' (traceback in ")
    assert 'raise KeyError("no such thing")' in Path(messages["crash"].split("traceback in ")[1][:-1]).read_text()
    assert messages["die"] == "its process ended with code 7"
    assert f"toy/main nan seed 0: failed: {messages['nan']}" in shown
    assert re.search(r"\[9/9\] ", shown) and "repeat/error" in shown

    # The record says what was run.
    records, warnings = ledger.read("toy")
    assert not warnings and sorted(r.key for r in records) == sorted(r.key for r in outcome.finished)
    one = select(records, arm="repeat", seed=1)[0]
    assert (one.benchmark, one.steps, one.device, one.threads, one.recipe) == ("numbers", 8, "cpu", 1, "mini.yaml")
    assert set(one.metrics) == {"repeat/error", "weight/norm"}
    assert one.seconds > 0 and one.peak_memory_mb > 50
    assert one.cpu_seconds > 0 and one.processor and one.capability and one.hash_version == 2
    # Decaying from step to step, and none where nothing is trained.
    assert len(one.first_losses) == 3 and one.first_losses[0] > one.first_losses[2] > 0
    items = ItemLedger(root / "results" / "items").read("toy")
    (errors,) = items["main", "repeat", one.recipe_hash, 1].values()
    assert errors.total == 32 and errors.values.mean() == pytest.approx(one.metrics["repeat/error"], rel=0.05)
    # An arm that no claim names has none.
    assert {(key.arm, key.seed) for key in items} == {("repeat", 0), ("repeat", 1), ("untrained", 0)}
    assert one.versions["torch"] and len(one.recipe_hash) == len(one.data_hash) == 64
    (untrained,) = select(records, arm="untrained")
    assert untrained.steps == 0 and untrained.first_losses == ()
    assert untrained.metrics["repeat/error"] > select(records, arm="repeat", seed=0)[0].metrics["repeat/error"]
    folder = root / "logs" / "toy" / "main" / "repeat" / "seed0"
    assert list(folder.glob("events.*")) and "lr: 0.05" in (folder / "config.yaml").read_text()

    # Only what is missing is left to do.
    left = plan(card, ledger, ["main"], seeds=1)
    assert sorted({r.arm for r in left.runs}) == ["crash", "die", "nan"]

    # The same seed gives the same metric to the last bit, in another process, in another order, after other runs.
    again = Ledger(root / "again")
    repeated, _ = outcome_of([r for r in reversed(todo) if (r.arm, r.seed) in good], again, workers=1)
    assert repeated.exit_code == 0
    assert {(r.arm, r.seed): r.metrics for r in repeated.finished} == {(r.arm, r.seed): r.metrics for r in records}
    # And not because nothing depends on the seed.
    assert len({r.metrics["repeat/error"] for r in select(records, arm="repeat")}) == 2
    # A second run starts a curve of its own.
    assert len(list(folder.glob("events.*"))) == 1


SECOND = """
  - name: second
    kind: compare
    recipe: mini.yaml
    arms:
      same: {}
      wider: {model: {init_args: {dropout: 0.2}}}
    claims:
      - {text: less is dropped, method: same, baseline: wider, metric: METRIC, better: lower, learns: no matter}
"""


@pytest.mark.parametrize(("metric", "owed"), [("repeat/error", True), ("weight/norm", False)])
def test_what_two_experiments_need_is_trained_once(root, metric, owed):
    path = root / "papers" / "toys" / "toy" / "paper.yaml"
    path.write_text(path.read_text() + SECOND.replace("METRIC", metric))
    card, ledger = find("toy", root), Ledger(root / "results" / "runs")

    def planned(*experiments):
        return [r for r in plan(card, ledger, list(experiments), seeds=1).runs if r.arm in ("repeat", "same")]

    logs = root / "logs" / "toy"
    # Together one training serves both, each with the items of the metrics it owes.
    outcome, _ = outcome_of(planned("main", "second"), ledger, workers=1)
    assert [(r.experiment, r.arm) for r in outcome.finished] == [("main", "repeat"), ("second", "same")]
    assert outcome.finished[0].metrics == outcome.finished[1].metrics
    assert (logs / "main").is_dir() and not (logs / "second").exists()
    items = ItemLedger(root / "results" / "items").read("toy")
    assert [list(found) for found in items.values()] == [["repeat/error"]] * (2 if owed else 1)

    # One after the other, too, what is on record serves.
    ledger = Ledger(root / "later" / "runs")
    outcome_of(planned("main"), ledger, workers=1)
    outcome, _ = outcome_of(planned("second"), ledger, workers=1)
    assert [(r.experiment, r.arm) for r in outcome.finished] == [("second", "same")]
    assert not (logs / "second").exists()
    assert planned("second") == []


def slow_runs(root, **changes):
    card = find("toy", root)
    runs = plan(card, Ledger(root / "none"), ["slow"]).runs
    return [dataclasses.replace(run, **changes) for run in runs]


def test_named_deviations_and_faulty_checks(root):
    (root / "checks2.py").write_text(
        textwrap.dedent("""
        def parts(seed):
            return {"value": 1e-12, "gradient": -(seed + 1.0)}

        def nan(seed):
            return {"value": 0.0, "gradient": float("nan")}

        def nothing(seed):
            return {}

        def drawn(seed):
            return {"value": 1e-12}, {"distance with 16": 7}

        def drawn_alone(seed):
            return 2e-12, {"distance with 16": 7}
        """)
    )
    run = slow_runs(root)[1]
    names = ["parts", "nan", "nothing", "missing", "drawn", "drawn_alone"]
    checks = [*(f"checks2:{name}" for name in names), "checks3:parts"]
    todo = [dataclasses.replace(run, arm=check.replace(":", "-"), check=check) for check in checks]
    outcome, _ = outcome_of(todo, Ledger(root / "runs"), workers=1)
    assert [record.metrics for record in outcome.finished] == [
        {"deviation": -2.0, "deviation/value": 1e-12, "deviation/gradient": -2.0},
        # What is kept to be drawn is no deviation, however large.
        {"deviation": 1e-12, "deviation/value": 1e-12, "distance with 16": 7.0},
        {"deviation": 2e-12, "distance with 16": 7.0},
    ]
    assert [failure.message for failure in outcome.failed] == [
        "the metric 'deviation/gradient' is nan",
        "the check 'checks2:nothing' returned no deviation",
        "the check 'checks2:missing' cannot be imported: module 'checks2' has no attribute 'missing'",
        "the check 'checks3:parts' cannot be imported: No module named 'checks3'",
    ]


def test_a_run_leaves_no_data_behind_in_its_worker(root):
    (root / "checks4.py").write_text(
        textwrap.dedent("""
        import gc

        def by_itself_python_collects_nothing(seed):
            gc.disable()
            return 0.0

        def left(seed):
            return sum(type(one).__name__ == "Numbers" for one in gc.get_objects())
        """)
    )
    run = slow_runs(root)[1]
    first, last = (
        dataclasses.replace(run, arm=name, check=f"checks4:{name}")
        for name in ("by_itself_python_collects_nothing", "left")
    )
    training = plan(find("toy", root), Ledger(root / "none"), ["main"]).runs[0]
    outcome, _ = outcome_of([first, training, last], Ledger(root / "runs"), workers=1)
    assert [record.metrics.get("deviation") for record in outcome.finished] == [0.0, None, 0.0]


def test_a_claim_about_a_metric_that_no_one_measures_is_reported_and_the_run_kept(root):
    outcome, shown = outcome_of(slow_runs(root, metrics=("top1",))[:1], Ledger(root / "runs"))
    assert len(outcome.finished) == 1 and outcome.exit_code == 2
    assert "a claim is about the metric 'top1', which property does not give; there are: deviation" in shown


def test_records_that_cannot_be_written_are_noticed_before_anything_runs(root, monkeypatch):
    (root / "file").touch()
    monkeypatch.setattr(runner, "Pool", None)
    with pytest.raises(UserError, match="cannot be written"):
        execute(slow_runs(root), Ledger(root / "file"), console=quiet())


def test_a_disk_that_fills_up_loses_no_result(root, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))

    def full(self, record):
        raise UserError("toy.jsonl: cannot be written: No space left on device")

    monkeypatch.setattr(Ledger, "append", full)
    # Who knows the name of a file in the temporary folder can put a link in its place.
    (tmp_path / "unsaved-toy.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="No space left on device; the result of the last run is in ") as error:
        execute(slow_runs(root)[:1], Ledger(root / "runs"), console=quiet())
    monkeypatch.undo()
    assert not (tmp_path / "precious").exists()
    refuge = Path(re.search(r"is in (.*), append it", str(error.value))[1])
    assert refuge.parent.stat().st_mode & 0o077 == 0
    (tmp_path / "toy.jsonl").write_bytes(refuge.read_bytes())
    records, warnings = Ledger(tmp_path).read("toy")
    assert [r.seed for r in records] == [0] and not warnings


def test_a_run_is_recorded_whatever_becomes_of_its_logs(root):
    (root / "logs").touch()
    outcome, shown = outcome_of(slow_runs(root)[:1], Ledger(root / "runs"))
    assert len(outcome.finished) == 1 and outcome.exit_code == 0
    assert f"toy/slow seed 0: no logs are kept: {root / 'logs'}" in shown and "Not a directory" in shown


def test_a_full_disk_for_logs_ends_no_training(root, monkeypatch):
    run = plan(find("toy", root), Ledger(root / "none"), ["main"], seeds=1).runs[0]
    folder, notes = root / "logs", []

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "events.out")

    monkeypatch.setattr(TensorBoardLogger, "log_metrics", full)
    result = worker.perform(run, folder, note=notes.append)
    assert result.scores.steps == 8 and result.scores.metrics["repeat/error"] > 0
    assert notes == ["its logs are not whole: events.out: No space left on device"]


def test_the_weights_that_were_scored_are_left_where_they_are_asked_for(root, monkeypatch):
    run = plan(find("toy", root), Ledger(root / "none"), ["main"], seeds=1).runs[0]
    assert worker.perform(run, root / "without").scores and not list((root / "without").glob("*.ckpt"))
    result = worker.perform(dataclasses.replace(run, keeps_weights=True), root / "logs")
    kept = read_checkpoint(root / "logs/last.ckpt", "--ckpt_path")
    assert check_origin(kept, root / "logs/last.ckpt", resolve(run.config)["model"], resumed=False) == ""
    norm = float(kept["state_dict"]["linear.weight"].norm())
    assert norm == pytest.approx(result.scores.metrics["weight/norm"])
    # Where there is no room for them, the result stands.
    notes = []

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", full)
    run = dataclasses.replace(run, keeps_weights=True)
    assert worker.perform(run, root / "full", note=notes.append).scores.steps == 8
    assert notes == ["its weights are not kept: [Errno 28] No space left on device"]


RERUN = """
import sys
from dataclasses import replace
from pathlib import Path
from harness.recipes.catalog import find
from harness.running.plan import plan
from common.experiments.records import Ledger
from harness.running.runner import execute
from harness.signals import ended_by_signals

if __name__ == "__main__":
    root = Path(sys.argv[1])
    ledger = Ledger(root / "runs")
    runs = [replace(run, check=sys.argv[2]) for run in plan(find("toy", root), ledger, ["slow"]).runs]
    with ended_by_signals():
        sys.exit(execute(runs, ledger, workers=2).exit_code)
"""


def start(root: Path, check: str = "toychecks:slow", **options) -> subprocess.Popen:
    (root / "rerun.py").write_text(RERUN)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "rerun.py", str(root), check],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        # A shell starts background jobs deaf to Ctrl-C, and the deafness is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def alive(root: Path) -> list[int]:
    """Workers that still run: each left its process id in the folder."""
    found = []
    for path in root.glob("worker-*"):
        pid = int(path.name.removeprefix("worker-"))
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def gone(root: Path) -> bool:
    """Whether all workers end within half a minute, long before their runs would."""
    deadline = time.monotonic() + 30
    while alive(root) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(root)


in_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")


@in_proc
def test_workers_die_with_their_parent_in_the_middle_of_a_run(root):
    process = start(root, "toychecks:asleep")
    while len(alive(root)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert gone(root)


@in_proc
def test_kill_9_at_ten_moments_loses_no_finished_run(root):
    dice, ledger, kept = random.Random(0), Ledger(root / "runs"), []
    for _ in range(10):
        if len(kept) == 12:
            ledger.path("toy").unlink()
            kept = []
        process = start(root)
        first = process.stdout.readline()
        time.sleep(dice.uniform(0, 0.7))
        process.kill()
        reported = [line for line in [first, *process.stdout.read().splitlines()] if line.startswith("[")]
        process.wait()
        assert gone(root)
        records, warnings = ledger.read("toy")
        # Readable to the end, nothing of before lost, nothing twice, and all that was reported as done is there.
        assert not warnings
        assert records[: len(kept)] == kept
        assert len({r.seed for r in records}) == len(records)
        assert len(records) - len(kept) >= len(reported) >= 1
        kept = records
    assert start(root).wait() == 0
    records, _ = ledger.read("toy")
    card = find("toy", root)
    assert sorted(r.seed for r in records) == list(range(12))
    assert [r.verdict for r in judge(card.experiment("slow"), records)] == [Verdict.HOLDS]
    assert {r.seed: r.metrics["deviation"] for r in records} == {seed: seed * 1e-6 for seed in range(12)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_has_ended_and_says_so(root, number, code):
    process = start(root, "toychecks:slow_but_the_first", stderr=subprocess.PIPE, start_new_session=True)
    first = process.stdout.readline()
    os.killpg(process.pid, number)
    shown, complaints = process.communicate(timeout=60)
    assert process.returncode == code
    assert complaints == ""
    records, warnings = Ledger(root / "runs").read("toy")
    assert first.startswith("[1/12] toy/slow seed ") and not warnings
    assert 1 <= len(records) < 12
    assert f"interrupted: {len(records)} of 12 runs are on record; the same command goes on from there" in shown
    assert alive(root) == []


def test_two_runners_share_the_runs_of_one_folder(root):
    both = [start(root) for _ in range(2)]
    shown = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    records, warnings = Ledger(root / "runs").read("toy")
    assert not warnings and sorted(r.seed for r in records) == list(range(12))
    # Both count to the end, but for one that a busy machine starts when all is done.
    assert any("[12/12]" in text for text in shown)
    assert all("[12/12]" in text or "[" not in text for text in shown)
    assert "another process has done it" in "".join(shown)


@in_proc
def test_the_runs_of_a_killed_runner_are_done_by_the_other(root):
    first = start(root, "toychecks:asleep")
    while len(alive(root)) < 2:
        time.sleep(0.05)
    other = start(root)
    time.sleep(1)
    first.kill()
    first.wait()
    assert other.communicate(timeout=120) and other.returncode == 0
    records, warnings = Ledger(root / "runs").read("toy")
    assert not warnings and sorted(r.seed for r in records) == list(range(12))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children in /proc")
def test_workers_are_deaf_to_ctrl_c_from_the_start(root):
    process = start(root)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (workers := [pid for pid in children.read_text().split() if "spawn_main" in command_line(pid)]):
        assert process.poll() is None
    for _ in range(20):
        with contextlib.suppress(ProcessLookupError):  # it has done its work, or the exit code will tell
            os.kill(int(workers[0]), signal.SIGINT)
        time.sleep(0.05)
    process.communicate(timeout=60)
    assert process.returncode == 0


def command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
