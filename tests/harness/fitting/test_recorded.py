"""The numbers on record, beside those of a training by hand."""

import dataclasses

import pytest

from common.experiments.records import Ledger
from harness.fitting import fit as fitting
from tests.harness import house
from tests.harness.fitting.test_fit import QUIET, fit
from tests.harness.toy import toy_hash


@pytest.fixture
def recorded(card):
    """Three seeds of the toy's method on record."""
    ledger = Ledger(card.root / "results/runs")
    for seed, error in enumerate((0.1, 0.2, 0.6)):
        of = {"paper": "toy", "experiment": "main", "arm": "repeat", "recipe": "mini.yaml", "seed": seed}
        metrics = {"repeat/error": error, "weight/norm": 1.0}
        ledger.append(dataclasses.replace(house.RECORD, **of, recipe_hash=toy_hash(card), metrics=metrics))
    return card


def test_the_record_of_the_same_recipe_stands_beside_the_score(recorded, tmp_path, capsys):
    line = "on record:  repeat/error 0.300 (0.100 to 0.600); 3 seeds of repeat in toy/main, on test data after the last"
    path = fit(recorded, "--trainer.log_every_n_steps", "1", "--seed_everything", "3", logs=tmp_path)
    assert [said for said in capsys.readouterr().out.splitlines() if said.startswith(line)]
    fitting.run_subcommand(recorded, "test", ["--ckpt_path", str(path), *QUIET], tmp_path)
    assert [said for said in capsys.readouterr().out.splitlines() if said.startswith(line)]


def test_of_another_recipe_it_says_what_differs(recorded, tmp_path, capsys):
    fit(recorded, "--model.lr", "0.2", logs=tmp_path)
    assert "on record:  with model.lr 0.05 (here 0.2): repeat/error 0.300 (" in capsys.readouterr().out
    fit(recorded, "--trainer.max_epochs", "1", logs=tmp_path)
    assert "on record:  with another trainer: repeat/error 0.300 (" in capsys.readouterr().out


def test_another_method_has_none(recorded, tmp_path, capsys):
    fit(recorded, "--model", "toylab.Plain", logs=tmp_path)
    assert "on record" not in capsys.readouterr().out


def test_a_dry_run_knows_how_long_it_took(recorded, tmp_path, capsys):
    fitting.run_subcommand(recorded, "fit", ["--dry-run"], tmp_path)
    assert "time:       about" in capsys.readouterr().out
