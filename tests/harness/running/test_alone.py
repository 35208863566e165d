"""A run on two devices is done by two processes, and what comes back is what one process finds."""

import dataclasses
import sys

import pytest

from common.errors import UserError
from common.experiments.records import Ledger
from harness.recipes.catalog import find
from harness.recipes.recipe import merge
from harness.running.alone import scores_of
from harness.running.plan import plan
from harness.running.work import training


@pytest.fixture
def run(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    runs = plan(find("toy", toy_root), Ledger(toy_root / "results/runs"), ["main"], seeds=1).runs
    return next(run for run in runs if run.arm == "repeat")


def changed(run, trainer, **model):
    return dataclasses.replace(run, config=merge(run.config, {"trainer": trainer, "model": {"init_args": model}}))


TWO = {"devices": 2, "strategy": "ddp"}


def test_two_processes_find_what_one_does(run, tmp_path):
    (tmp_path / "logs").mkdir()
    found = scores_of(changed(run, TWO, dropout=0.0), tmp_path / "logs")
    one = training(changed(run, {}, dropout=0.0), None, lambda done, total: None, print)()
    assert found.metrics == pytest.approx(one.metrics, rel=1e-4)
    assert found.first_losses == pytest.approx(one.first_losses, rel=1e-4)
    assert found.items["repeat/error"] == pytest.approx(one.items["repeat/error"], rel=1e-4)
    rest = {"metrics": {}, "items": {}, "first_losses": ()}
    assert found._replace(**rest) == one._replace(**rest)


def test_what_one_of_them_raises_is_told(run):
    with pytest.raises(UserError, match="lr"):
        scores_of(changed(run, TWO, lr=-1.0), None)
