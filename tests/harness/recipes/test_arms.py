import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.records import Ledger
from harness import cli
from harness.recipes import catalog
from harness.recipes.arms import check_arms
from harness.recipes.written import arm_config
from harness.running.looks import plans
from harness.running.runner import execute

CLASSES = """
from toylab import Numbers, Repeat


class Deep(Repeat):
    def __init__(self, *, depth: int = 2, dropout: float = 0.4, **other) -> None:
        super().__init__(**other)


class Large(Numbers):
    def __init__(self, size: int = 64, **other) -> None:
        super().__init__(size=size, **other)
"""


@pytest.fixture
def house(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (toy_root / "deeplab.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    return toy_root


def arm(root: Path, text: str) -> int:
    """Gives the arm `plain` another text, and returns its line."""
    card = root / "papers/toys/toy/paper.yaml"
    old = "model: {class_path: toylab.Plain, init_args: {lr: 5e-2}}"
    assert card.read_text().count(old) == 1
    line = card.read_text().split(old)[0].count("\n") + 1
    card.write_text(card.read_text().replace(old, text))
    return line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model: {class_path: deeplab.Deep}",
            "the arm 'plain' of 'main' takes model.dropout 0.4, the default of its class, where the recipe has 0.1",
        ),
        ("model: {class_path: deeplab.Deep, init_args: {dropout: 0.1}}", "takes model.lr 0.001, the default of"),
        ("data: {class_path: deeplab.Large}", "takes data.size 64, the default of its class, where the recipe has 32"),
    ],
)
def test_an_arm_that_differs_without_saying_so_is_refused(
    house: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    line = arm(house, text)
    card = catalog.find("toy", house)
    with pytest.raises(UserError) as error:
        check_arms(card, card.experiments[0])
    assert str(error.value).startswith(f"papers/toys/toy/paper.yaml:{line}: ") and said in str(error.value)
    for command in (["show", "toy"], ["rerun", "toy", "--dry-run"]):
        assert cli.main(command, house) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"papers: papers/toys/toy/paper.yaml:{line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "model: {class_path: toylab.Repeat}",
        "model: {class_path: toylab.Repeat, init_args: {dropout: 0.2}}",
        "model: {class_path: deeplab.Deep, init_args: {dropout: 0.4, lr: 5e-2, depth: 3}}",
        "model: {class_path: elsewhere.Unknown}",
    ],
)
def test_an_arm_that_says_what_it_changes_is_not(house: Path, text: str) -> None:
    arm(house, text)
    card = catalog.find("toy", house)
    check_arms(card, card.experiments[0])


@pytest.fixture
def full(house: Path) -> Path:
    """The toy paper with a full recipe, of another dropout and size."""
    folder = house / "papers/toys/toy"
    text = (folder / "mini.yaml").read_text().replace("width: 4\n", "width: 4\n    dropout: 0.3\n")
    (folder / "full.yaml").write_text(text.replace("size: 32", "size: 48"))
    arm(house, "model: {class_path: deeplab.Deep, init_args: {dropout: 0.1, lr: 5e-2, depth: 3}}")
    return house


def test_a_full_recipe_is_carried_over_to_the_arms(full: Path) -> None:
    card = catalog.find("toy", full)
    config = arm_config(card, card.experiments[0], "plain", "full.yaml")
    assert config["model"]["init_args"] == {"width": 4, "dropout": 0.1, "lr": 0.05, "depth": 3}
    assert config["data"]["init_args"]["size"] == 48


def test_a_full_run_takes_what_this_machine_has_and_says_what_it_takes(
    full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rerun", "toy", "--recipe", "full", "--dry-run", "--precision", "32"], full) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("toy/main (full.yaml): 0 on record") and err == ""
    assert [line.partition(":")[0] for line in lines[-3:]] == ["memory", "time", "disk"]
    (planned,) = plans([catalog.find("toy", full)], Ledger(full / "r"), recipe="full.yaml", overrides=OVERRIDES)
    run = planned.runs[0]
    assert run.config["trainer"]["precision"] == "32" and run.config["data"]["init_args"]["version"] == "2"
    (as_it_is,) = plans([catalog.find("toy", full)], Ledger(full / "r"), recipe="full.yaml")
    assert run.recipe_hash == as_it_is.runs[0].recipe_hash


OVERRIDES = {"trainer": {"precision": "32"}, "data": {"init_args": {"version": "2"}}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--experiment", "exact"], "toy/exact has no full recipe: it is a property, which has no recipe"),
        (["--experiment", "main", "--devices", "0"], "argument --devices: '0' is not a whole number from 1 to 1000"),
        (["--precision", "bf16-true"], "argument --precision: invalid choice"),
        (["--data-root", "~nobody_at_all/x"], "--data-root is '~nobody_at_all/x', whose home"),
    ],
)
def test_a_full_run_that_is_not_possible(
    full: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert cli.main(["rerun", "toy", "--recipe", "full", "--dry-run", *options], full) == 2
    assert capsys.readouterr().err.startswith(f"papers: {said}")


def test_an_experiment_without_a_full_recipe_says_so(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rerun", "toy", "--recipe", "full", "--experiment", "main"], house) == 2
    assert "toy/main has no full recipe: there is no full.yaml beside its card" in capsys.readouterr().err
    assert cli.main(["rerun", "toy", "--recipe", "full"], house) == 2
    assert "no experiment of toy has a full recipe" in capsys.readouterr().err
    assert cli.main(["rerun", "toy", "--data-root", "x"], house) == 2
    assert "--data-root is for --recipe full" in capsys.readouterr().err


def test_a_full_run_on_two_devices_is_trained_scored_and_recorded(full: Path) -> None:
    ledger, two = Ledger(full / "r"), {"trainer": {"devices": 2}}
    (planned,) = plans([catalog.find("toy", full)], ledger, recipe="full.yaml", overrides=two, seeds=1)
    outcome = execute([run for run in planned.runs if run.arm == "repeat"], ledger, workers=1, logs=full / "logs")
    assert outcome.exit_code == 0, outcome.failed
    (record,) = ledger.read("toy")[0]
    assert record.steps == 12 and set(record.metrics) == {"repeat/error", "weight/norm"}
