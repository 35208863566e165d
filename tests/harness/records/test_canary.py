"""What is noticed when the code no longer computes what is on record."""

import dataclasses
import io
import sys

import pytest
from rich.console import Console

from common.experiments.records import Ledger
from common.experiments.stale import Mark, StaleLedger
from harness.audit import spot
from harness.cli import main
from harness.recipes.catalog import find
from harness.records import canary
from harness.records.standing import standing
from harness.running.plan import plan
from harness.running.runner import execute
from tests.common.experiments.test_records import RECORD


@pytest.fixture
def recorded(toy_root, monkeypatch):
    """The toy with seed 0 of each arm on record."""
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    ledger = Ledger(toy_root / "results" / "runs")
    runs = plan(find("toy", toy_root), ledger, ["main"], seeds=1).runs
    assert execute(runs, ledger, workers=1, console=Console(file=io.StringIO())).exit_code == 0
    return toy_root


def found(root) -> dict[str, tuple[int, float] | None]:
    findings = canary.findings(find("toy", root), Ledger(root / "results/runs"))
    return {finding.record.arm: finding.deviation for finding in findings}


def changed(monkeypatch, factor: float, step: int = 0) -> None:
    """The loss of `Repeat` and what inherits from it is another from a step on."""
    method = sys.modules["toylab"].Repeat
    before = method.training_step
    monkeypatch.setattr(
        method,
        "training_step",
        lambda self, *a: before(self, *a) * (factor if self.global_step >= step else 1.0),
    )


def test_first_losses_agree_with_the_record_and_a_doubled_loss_is_named(recorded, monkeypatch):
    assert found(recorded) == {"repeat": None, "plain": None}  # the third arm does not train
    with monkeypatch.context() as patch:
        changed(patch, 2.0)
        assert found(recorded) == {
            "repeat": (1, pytest.approx(1.0, rel=1e-3)),
            "plain": (1, pytest.approx(1.0, rel=1e-3)),
        }
    with monkeypatch.context() as patch:
        changed(patch, 1.01, step=2)
        assert found(recorded)["repeat"] == (3, pytest.approx(0.01, rel=1e-3))
    with monkeypatch.context() as patch:
        changed(patch, 1 + 1e-6)  # as another machine rounds
        assert found(recorded) == {"repeat": None, "plain": None}


def test_a_stale_arm_is_marked_until_it_is_run_again_or_agrees_again(recorded, monkeypatch, capsys):
    card, ledger = find("toy", recorded), Ledger(recorded / "results/runs")

    def stale() -> tuple[str, ...]:
        return standing(card, ledger).trials[0].stale

    def missing() -> list[str]:
        return [run.arm for run in plan(card, ledger, ["main"], seeds=1).runs]

    assert main(["verify", "toy", "--canary"], recorded) == 0
    assert "no record is stale" in capsys.readouterr().out and not (recorded / "results/stale").exists()
    # The records were made a while ago.
    ledger.rewrite("toy", lambda line: line.replace('"finished": "2', '"finished": "1'))
    with monkeypatch.context() as patch:
        changed(patch, 2.0)
        assert main(["verify", "toy", "--canary"], recorded) == 1
        said = capsys.readouterr().out
        assert "toy/main repeat: the loss of step 1 is " in said and "(off by 1); the record is stale" in said
    assert stale() == ("repeat", "plain") and missing() == ["repeat", "plain"]
    assert standing(card, ledger).trials[0].label("repeat") == "repeat (stale)"
    main(["verify", "toy"], recorded)
    assert "toy/main: the arm 'repeat' is stale: the code trains it otherwise now" in capsys.readouterr().out

    # A new record stands, an arm that agrees again too.
    (run,) = [run for run in plan(card, ledger, ["main"], seeds=1).runs if run.arm == "repeat"]
    execute([run], ledger, workers=1, console=Console(file=io.StringIO()))
    assert stale() == ("plain",) and missing() == ["plain"]
    assert main(["verify", "toy", "--canary"], recorded) == 0
    assert stale() == () and missing() == []


def test_a_mark_that_cannot_be_read_marks_nothing(tmp_path):
    marks = StaleLedger(tmp_path)
    marks.append("toy", Mark("main", "a", "r1", 1, 0.5, "2026-01-02"))
    for line in ("{}", '{"experiment": "main"', '{"experiment": 1, "arm": "a", "recipe_hash": "", "step": 1}'):
        marks.write("toy", line)
    assert list(marks.read("toy")) == [("main", "a", "r1")]


def test_records_that_are_trained_again_give_the_same(recorded, capsys):
    ledger = Ledger(recorded / "results/runs")
    before = ledger.path("toy").read_bytes()
    assert main(["verify", "--rerun", "2", "--seed", "7", "--workers", "1", "toy"], recorded) == 0
    said = capsys.readouterr()
    assert "2 runs give what is on record" in said.out and "chosen by 7: toy/main" in said.err
    assert ledger.path("toy").read_bytes() == before
    names = [[run.name for run, _ in spot.choose([find("toy", recorded)], ledger, 2, seed)] for seed in (7, 7, 8, 9)]
    assert names[0] == names[1] and len({tuple(sorted(n)) for n in names}) > 1

    ledger.rewrite("toy", lambda line: line.replace('"weight/norm": 0', '"weight/norm": 1'))
    assert main(["verify", "--rerun", "3", "--workers", "1", "toy"], recorded) == 1
    assert "weight/norm is 0." in capsys.readouterr().out


def test_on_another_processor_items_say_how_far_a_metric_may_be_off(recorded):
    from common.experiments.items import ItemLedger

    (items, *_) = ItemLedger(recorded / "results/items").read("toy").values()
    spread = items["repeat/error"].values.std(ddof=1) / 32**0.5
    record = dataclasses.replace(RECORD, processor="A", metrics={"repeat/error": 0.5, "weight/norm": 2.0, "top1": 0.9})
    # Without items a share has the error of one over 1,000 of them, anything else 5%.
    near = {"repeat/error": 0.5 + 1.9 * spread, "weight/norm": 2.099, "top1": 0.918}
    far = {"repeat/error": 0.5 + 2.1 * spread, "weight/norm": 2.101, "top1": 0.88}
    for processor, metrics, lines in (("A", record.metrics, 0), ("A", near, 3), ("B", near, 0), ("B", far, 3)):
        again = dataclasses.replace(record, processor=processor, metrics=metrics)
        assert len(list(spot.compare(record, again, items))) == lines
    other = dataclasses.replace(record, data_hash="d2", metrics={})
    assert [line.split(" ")[0] for line in spot.compare(record, other, items)] == ["its", *record.metrics]
