"""A training that another paper has on record is taken over from there."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest

from common.experiments.items import ItemKey, ItemLedger
from common.experiments.records import Ledger
from common.experiments.stale import Mark, StaleLedger
from common.experiments.tries import TryLedger
from harness.recipes.catalog import find
from harness.running import tune, twins
from harness.running.plan import plan
from harness.running.recording import adopt
from tests.harness.running.test_plan import write_records
from tests.harness.running.test_tune import TUNING


@pytest.fixture
def root(toy_root, monkeypatch):
    """Two papers with one recipe, both with something to tune."""
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    twins.fingerprint.cache_clear()
    toys = toy_root / "papers/toys"
    card = (toys / "toy/paper.yaml").read_text().replace("    recipe: mini.yaml\n", TUNING)
    (toys / "toy/paper.yaml").write_text(card)
    shutil.copytree(toys / "toy", toys / "later")
    (toys / "later/paper.yaml").write_text(card.replace("slug: toy", "slug: later"))
    return toy_root


@pytest.fixture
def ledger(root):
    return Ledger(root / "results/runs")


def planned(root, ledger, slug: str, arm: str = "repeat"):
    """The one run of this arm at seed 0."""
    runs = plan(find(slug, root), ledger, ["main"], seeds=1).runs
    return next(run for run in runs if run.arm == arm)


def on_record(root, ledger, **changes):
    write_records(root, ledger, [planned(root, ledger, "toy")], means=["repeat/error"], **changes)
    (record,) = ledger.read("toy")[0]
    key = ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed)
    ItemLedger(ledger.folder.parent / "items").append("toy", key, {"repeat/error": np.array([0.25, 0.75])})
    return record


def test_another_papers_training_is_taken_over_with_its_items(root, ledger):
    record = on_record(root, ledger)
    run = planned(root, ledger, "later")
    assert run.twin == record and run.expected_seconds == 0.0
    adopted = adopt(ledger, run, run.twin)
    assert adopted == dataclasses.replace(record, paper="later")
    (items,) = ItemLedger(ledger.folder.parent / "items").read("later").values()
    assert items["repeat/error"].values.tolist() == [0.25, 0.75]
    assert not [r for r in plan(find("later", root), ledger, ["main"], seeds=1).runs if r.arm == "repeat"]


def test_the_papers_own_comes_first(root, ledger):
    on_record(root, ledger)
    run = planned(root, ledger, "later")
    write_records(root, ledger, [dataclasses.replace(run, arm="same")], means=["repeat/error"])
    # The items that the arm owes were not kept of its own, so the other paper's serves until they are.
    assert run.twin.paper == planned(root, ledger, "later").twin.paper == "toy"
    key = ItemKey("main", "same", run.recipe_hash, 0)
    ItemLedger(ledger.folder.parent / "items").append("later", key, {"repeat/error": np.array([0.5])})
    assert planned(root, ledger, "later").twin.paper == "later"


@pytest.mark.parametrize("lack", ["items", "data", "recipe", "seed", "time", "stale"])
def test_what_is_not_the_same_is_trained(root, ledger, lack, monkeypatch):
    changes = {"data": {"data_hash": "other"}, "seed": {"seed": 1}, "time": {"cpu_seconds": 0.0}}
    record = on_record(root, ledger, **changes.get(lack, {}))
    if lack == "items":
        (ledger.folder.parent / "items/toy.jsonl").unlink()
    if lack == "recipe":
        path = root / "papers/toys/later/mini.yaml"
        path.write_text(path.read_text().replace("lr: 5e-2", "lr: 4e-2"))
    if lack == "stale":
        mark = Mark("main", "repeat", record.recipe_hash, 1, 0.5, "2999-01-01T00:00:00+00:00")
        StaleLedger(ledger.folder.parent / "stale").append("toy", mark)
    assert planned(root, ledger, "later").twin is None


def test_a_try_of_another_paper_serves_too_and_says_so_as_one(root):
    ledger = TryLedger(root / "results/tuning")
    card = find("toy", root)
    first = tune.plan(card, ledger, tune.settings(card))[0]
    made = Ledger(root / "made")
    write_records(root, made, [first])
    (record,) = made.read("toy")[0]
    ledger.append(tune.Try(record, first.knobs))
    later = find("later", root)
    runs = tune.plan(later, ledger, tune.settings(later))
    assert [run.twin is not None for run in runs] == [True] + [False] * 15
    adopt(ledger, runs[0], runs[0].twin)
    (one,) = ledger.read("later")[0]
    assert one.knobs == first.knobs and one.record == dataclasses.replace(record, paper="later")
    assert len(tune.plan(later, ledger, tune.settings(later))) == 15
