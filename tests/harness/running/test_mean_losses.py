"""The course of the loss is its mean over logging intervals, and is kept beside the record of a run, not of a try."""

import dataclasses
import sys
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from common.experiments.loss_curves import CurveLedger, LossCurve
from common.experiments.records import Ledger
from common.experiments.tries import TryLedger
from harness.recipes.catalog import find
from harness.recipes.recipe import merge
from harness.running.mean_losses import MeanLosses
from harness.running.plan import plan
from harness.running.runner import execute


def played(outputs: list, every: int) -> MeanLosses:
    trainer = SimpleNamespace(log_every_n_steps=every, callback_metrics={"train/loss": torch.tensor(7.0)})
    callback = MeanLosses()
    callback.on_train_start(trainer, L.LightningModule())
    for step, output in enumerate(outputs):
        callback.on_train_batch_end(trainer, L.LightningModule(), output, None, step)
    return callback


def test_the_mean_of_each_interval() -> None:
    outputs = [{"loss": torch.tensor(loss, requires_grad=True)} for loss in (1.0, 2.0, 3.0, 5.0, 9.0)]
    assert played(outputs, 2).curve() == LossCurve(2, (1.5, 4.0))
    assert played(outputs, 6).curve() is None
    assert played([torch.tensor(1.0), None], 1).curve() == LossCurve(1, (1.0, 7.0)), "what a loop by hand logs"
    assert played([torch.tensor(1.0), torch.tensor(float("nan"))], 1).curve() is None


def test_nothing_is_read_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("item", "tolist", "__float__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("a host read"))
    played([torch.tensor(1.0) for _ in range(9)], 2)


def test_a_run_keeps_its_curve_and_a_try_does_not(toy_root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    ledger, tries = Ledger(toy_root / "results/runs"), TryLedger(toy_root / "results/tuning")
    (run,) = [run for run in plan(find("toy", toy_root), ledger, ["main"], seeds=1).runs if run.arm == "repeat"]
    run = dataclasses.replace(run, config=merge(run.config, {"trainer": {"log_every_n_steps": 1}}))
    execute([dataclasses.replace(run, knobs={"model.lr": 0.1})], tries, workers=1)
    kept = CurveLedger(toy_root / "results/curves")
    assert kept.read("toy") == {}
    (record,) = execute([run], ledger, workers=1).finished
    ((key, curve),) = kept.read("toy").items()
    assert key == ("main", "repeat", record.recipe_hash, 0)
    assert (curve.every, len(curve.losses)) == (1, record.steps)
    assert curve.losses[:3] == pytest.approx(record.first_losses, rel=1e-3)
