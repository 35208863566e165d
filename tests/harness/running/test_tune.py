import sys

import pytest

from common.errors import UserError
from common.experiments.tries import TryLedger
from harness.cli import main
from harness.recipes.catalog import find
from harness.running import tune

TUNING = """\
    recipe: mini.yaml
    tuning:
      metric: repeat/error
      better: lower
      seeds: [100, 101]
      knobs: {model.lr: [0.05, 0.1], trainer.max_epochs: [2, 1]}
      arms: [repeat, plain]
"""


@pytest.fixture
def root(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    edit(toy_root, "    recipe: mini.yaml\n", TUNING)
    return toy_root


def edit(root, old: str, new: str) -> None:
    path = root / "papers/toys/toy/paper.yaml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def test_every_arm_gets_every_value_and_seed_and_the_recipes_own_is_known(root):
    card = find("toy", root)
    tried = tune.settings(card)
    assert [(s.arm, *s.knobs.values()) for s in tried] == [
        (arm, lr, epochs) for arm in ("repeat", "plain") for lr in (0.05, 0.1) for epochs in (2, 1)
    ]
    assert [(s.arm, *s.knobs.values()) for s in tried if s.is_recipe] == [("repeat", 0.05, 2), ("plain", 0.05, 2)]
    runs = tune.plan(card, TryLedger(root / "results/tuning"), tried)
    assert [run.seed for run in runs] == [100] * 8 + [101] * 8
    assert runs[1].config["model"]["init_args"]["lr"] == 0.05 and runs[1].config["trainer"]["max_epochs"] == 1
    assert {run.split for run in runs} == {"val"} and runs[0].config["seed_everything"] == 100


def test_tries_are_made_once_recorded_and_compared(root, capsys):
    recipe = (root / "papers/toys/toy/mini.yaml").read_text()
    assert main(["tune", "toy", "--workers", "1"], root) == 0
    said = capsys.readouterr().out
    assert "8 settings: 16 runs to do" in said
    assert "main: on validation data, seeds 100, 101; lower is better" in said
    # In a training of a few steps two epochs are better than one, and the higher rate than the lower.
    assert "repeat: the best is model.lr 0.1, trainer.max_epochs 2, which the recipe has not" in said
    assert "plain: the best is model.lr 0.1, trainer.max_epochs 2, which the recipe has not" in said
    assert (root / "papers/toys/toy/mini.yaml").read_text() == recipe
    tries, warnings = TryLedger(root / "results/tuning").read("toy")
    assert len(tries) == 16 and not warnings
    assert tries[0].knobs == {"model.lr": 0.05, "trainer.max_epochs": 2} and tries[0].record.cpu_seconds > 0
    assert not (root / "results/runs").exists() and not (root / "results/items").exists()

    # Another value on the card asks for its tries alone.
    edit(root, "[0.05, 0.1]", "[0.05, 0.2]")
    assert main(["tune", "toy", "--dry-run"], root) == 0
    said = capsys.readouterr().out
    assert "8 settings: 8 runs to do" in said and "repeat: not all tries are on record yet" in said


def test_faults_are_told_before_anything_trains(root):
    edit(root, "model.lr: [0.05, 0.1]", "model.rate: [1]")
    with pytest.raises(
        UserError, match=r"^toy/main: the arm 'repeat' with model\.rate 1, .*: unknown option model\.rate"
    ):
        tune.settings(find("toy", root))
    with pytest.raises(UserError, match=r"^toy/slow names nothing to tune"):
        tune.settings(find("toy", root), "slow")


def test_a_broken_try_is_named_and_skipped(root):
    ledger = TryLedger(root / "results/tuning")
    ledger.write("toy", '{"knobs": {}}')
    assert ledger.read("toy") == (
        [],
        [f"{ledger.path('toy')}:1: skipped a broken try: the field 'knobs' is missing or no mapping"],
    )
