"""Which seeds `papers rerun` asks for; what would train is played by a table of values."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from common.experiments.items import ItemKey, ItemLedger
from common.experiments.records import Ledger
from harness.recipes import catalog
from harness.running import looks
from harness.running.runner import Outcome
from tests.harness import house

LEVEL = {"alpha": 0.9, "beta": 0.8, "beta@untrained": 0.5}
APART = {
    "clearly": lambda arm, seed: 0.0,
    # Alpha is ahead by 0.1 in the mean, and by 0.3 or behind by 0.1 in turn.
    "barely": lambda arm, seed: 0.2 * (-1) ** seed if arm == "alpha" else 0.0,
}


@pytest.fixture
def rounds(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Reruns alpha, and returns the arms and seeds of each round."""
    for path in (root / "results").glob("*/alpha.jsonl"):
        path.unlink()

    def run(apart: str, **options) -> list[dict[str, list[int]]]:
        found = []

        def execute(runs, ledger, **_):
            arms: dict[str, list[int]] = {}
            outcome = Outcome()
            for one in runs:
                arms.setdefault(one.arm, []).append(one.seed)
                value = LEVEL.get(one.arm, 0.0) + APART[apart](one.arm, one.seed)
                fields = {"experiment": one.experiment, "arm": one.arm, "recipe": one.recipe, "seed": one.seed}
                fields |= {"metrics": {"probe/top1": value, "loss": value, "deviation": 0.0}}
                fields |= {"recipe_hash": one.recipe_hash}
                fields |= {"benchmark": "property", "data_hash": ""} if one.check else {}
                record = dataclasses.replace(house.RECORD, **fields)
                key = ItemKey(one.experiment, one.arm, one.recipe_hash, one.seed)
                items = np.arange(1000) / 1000 < value
                ItemLedger(root / "results/items").append("alpha", key, {"probe/top1": items, "loss": items})
                ledger.append(record)
                outcome.finished.append(record)
            if arms:
                found.append(arms)
            return outcome

        monkeypatch.setattr(looks, "execute", execute)
        card = catalog.find("alpha", root)
        assert looks.rerun([card], Ledger(root / "results/runs"), workers=1, logs=root / "logs", **options) == 0
        return found

    return run


FIRST = {arm: list(range(5)) for arm in LEVEL} | {"bound": [0, 1]}
SECOND = {arm: list(range(5, 10)) for arm in LEVEL}


def test_a_decided_claim_gets_five_seeds(rounds):
    assert rounds("clearly") == [FIRST]
    assert rounds("clearly") == []


def test_an_undecided_primary_claim_gets_ten_by_itself_and_no_more(rounds):
    assert rounds("barely") == [FIRST, SECOND]
    assert rounds("barely") == []


def test_the_second_look_goes_on_where_it_was_left(rounds):
    rounds("barely", seeds=5)
    assert rounds("barely", seeds=7) == [{arm: [5, 6] for arm in LEVEL} | {"bound": [5, 6]}]
    assert rounds("barely") == [{arm: [7, 8, 9] for arm in LEVEL}]


def test_another_experiment_alone_asks_for_nothing_of_the_first(rounds):
    assert rounds("barely", experiments=["bound"]) == [{"bound": [0, 1]}]
