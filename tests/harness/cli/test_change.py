"""`papers rerun --set` on a house of records; what would train is played by a formula."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.experiments.items import ItemKey, ItemLedger
from common.experiments.records import Ledger
from harness import cli
from harness.recipes.catalog import REPOSITORY
from harness.running.run import Run
from harness.running.runner import Outcome
from tests.harness import house

Capture = pytest.CaptureFixture[str]
GUIDE = REPOSITORY / "docs/guides/change-one-thing.md"


def fields_of(run: Run) -> dict[str, object]:
    """What a record has of its run."""
    return {name: getattr(run, name) for name in ("arm", "seed", "recipe", "recipe_hash", "experiment")}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    return place


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were asked for; each scores as the recorded arm plus half of its temperature's distance to 0.1."""
    done: list[Run] = []

    def execute(runs: tuple[Run, ...], ledger: Ledger, workers: int, logs: Path, hire: object) -> Outcome:
        outcome = Outcome()
        for run in runs:
            done.append(run)
            arm = run.arm.partition("@")[0]
            recorded = {"alpha": house.ALPHA, "beta": house.BETA}[arm][run.seed]
            value = recorded + (run.config["model"].get("init_args", {}).get("temperature", 0.1) - 0.1) / 2
            key = ItemKey(run.experiment, run.arm, run.recipe_hash, run.seed)
            right = np.arange(house.ITEMS) < value * house.ITEMS
            ItemLedger(ledger.folder.parent / "items").append("alpha", key, {"probe/top1": right})
            record = dataclasses.replace(house.RECORD, **fields_of(run), metrics={"probe/top1": value, "loss": 2.0})
            ledger.append(record)
            outcome.finished.append(record)
        return outcome

    # In this order: the second imports the first's, which must be the true one then, as it is put back afterwards.
    monkeypatch.setattr("harness.running.looks.execute", execute)
    monkeypatch.setattr("harness.running.runner.execute", execute)
    return done


@pytest.fixture
def papers(root: Path, capsys: Capture) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(arguments, root)
        out, err = capsys.readouterr()
        return code, re.sub(r"\n(  |    )(?=\S)", " ", out), err  # a sentence is one line again

    return run


def test_a_changed_arm_stands_beside_its_record_and_its_baseline(root, papers, played, here):
    before = {path: path.read_bytes() for path in (root / "results").rglob("*") if path.is_file()}
    code, out, err = papers("rerun", "alpha", "--set", "model.temperature=0.2")
    assert (code, err) == (0, "")
    assert "0 on record, 5 to run: alpha@model.temperature=0.2 seed 0-4" in out
    assert "alpha/main (mini.yaml), arm alpha: model.temperature 0.2 where the record has 0.1" in out
    rows = [line.split("  ") for line in out.splitlines()]
    means = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    assert means["Alpha, model.temperature=0.2"] == ["5", "0.970 (0.016)", "2.000 (0.000)"]
    assert means["Alpha, on record"] == ["5", "0.920 (0.016)", "2.200 (0.158)"]
    assert means["Beta, its baseline"] == ["5", "0.820 (0.014)", "1.200 (0.158)"]
    assert "Against the recorded arm: better: the interval lies on the better side of 0" in out
    assert "Difference +0.050 [+0.050, +0.050] over 5 seeds, margin 0.010, item SE 0.00" in out
    assert "Against its baseline, beta: better" in out and "Difference +0.150 [+0.139, +0.161]" in out
    assert "This is no verdict of the table." in out and "Mind:" not in out
    assert {run.config["seed_everything"] for run in played} == set(range(5))
    assert {run.config["data"]["init_args"]["seed"] for run in played} == set(range(5))
    assert {run.expected_seconds for run in played} == {20.0}
    # Records of one's own, and the official ones as they were.
    assert len(Ledger(here / "changed-alpha/runs").read("alpha")[0]) == 5
    assert {path: path.read_bytes() for path in (root / "results").rglob("*") if path.is_file()} == before

    again = papers("rerun", "alpha", "--set", "model.temperature=2e-1")
    assert again[0] == 0 and "5 on record, 0 to run" in again[1] and len(played) == 5
    assert again[1].partition("mini.yaml), arm")[2] == out.partition("mini.yaml), arm")[2]


def test_an_interrupted_change_goes_on(papers, played, here):
    papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "3")
    assert [run.seed for run in played] == [0, 1, 2]
    code, out, _ = papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "3")
    assert code == 0 and "fewer seeds than the rule looks at: a verdict takes seeds 0 to 4 of both arms." in out
    assert "Difference +0.050 [+0.050, +0.050] over 3 seeds." in out
    papers("rerun", "alpha", "--set", "model.temperature=0.2")
    assert [run.seed for run in played] == [0, 1, 2, 3, 4]


def test_small_differences_lie_within_the_margin_and_worse_is_said(papers, played):
    assert "no difference: the interval lies within the margin of 0.010" in papers(
        "rerun", "alpha", "--set", "model.temperature=0.11"
    )[1].replace("0.0100", "0.010")
    out = papers("rerun", "alpha", "--set", "model.temperature=0.01")[1]
    assert "Against the recorded arm: worse: the interval lies on the worse side of 0" in out


def test_a_baseline_can_be_changed(papers, played):
    code, out, _ = papers("rerun", "alpha", "--arm", "beta", "--set", "model.lr=0.01", "--out", "own/beta")
    assert code == 0 and "arm beta: model.lr 0.01 where the record has " in out
    assert (
        "Against the method it is the baseline of, alpha: worse" in out and Path("own/beta/runs/alpha.jsonl").is_file()
    )
    assert {run.config["model"]["class_path"] for run in played} == {"toyhouse.Other"}


def test_a_sweep_is_a_table_and_a_figure(papers, played, here):
    code, out, err = papers("rerun", "alpha", "--set", "model.temperature=0.2,0.1,5e-2")
    assert code == 0 and err == "papers: model.temperature=0.1 is the recorded value: it is shown from the record\n"
    assert len(played) == 10 and [run.seed for run in played[:4]] == [0, 0, 1, 1]
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("model.temperature"))
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines[start : start + 4]]
    assert cells[0] == ["model.temperature", "seeds", "probe/top1", "d to the record", "d to beta"]
    assert [row[0] for row in cells[1:]] == ["0.05", "0.1", "0.2"]
    assert cells[1][2:5] == ["0.895 (0.016)", "-0.025 [-0.025, -0.025]", "worse"]
    assert cells[2][1:] == ["5", "0.920 (0.016)", "the record"]
    figure = (here / "changed-alpha/figures/alpha-main-model.temperature.svg").read_text()
    assert "<svg" in figure and "d to the record" in figure and "model.temperature" in figure
    papers("rerun", "alpha", "--set", "model.temperature=0.2,0.1,5e-2")
    assert len(played) == 10
    assert (here / "changed-alpha/figures/alpha-main-model.temperature.svg").read_text() == figure


def test_what_this_machine_has_reaches_the_recipe_and_makes_no_other_run(papers, played):
    papers("rerun", "alpha", "--set", "model.temperature=0.2", "--devices", "2", "--data-root", "there", "--seeds", "1")
    config = played[0].config
    assert config["trainer"]["devices"] == 2 and config["data"]["init_args"]["data_root"] == "there"
    assert "1 on record, 0 to run" in papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "1")[1]
    # Another precision is another run, and is told as a change.
    out = papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "1", "--precision", "bf16-mixed")[1]
    assert played[-1].config["trainer"]["precision"] == "bf16-mixed" and "trainer.precision=bf16-mixed" in out
    out = papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "1", "--precision", "32-true")[1]
    assert "1 on record, 0 to run" in out and len(played) == 2


def test_other_data_and_processors_are_told(papers, played, root):
    records = root / "results/runs/alpha.jsonl"
    records.write_text(records.read_text().replace('"coins-0.0"', '"coins-old"').replace('"cpu"', '"cuda"'))
    out = papers("rerun", "alpha", "--set", "model.temperature=0.2")[1]
    assert "Mind: the changed arm has other data than the record" in out
    assert "Mind: the record is of device cuda, these runs of cpu" in out


def test_a_dry_run_says_what_and_how_long_and_writes_nothing(papers, played, here):
    code, out, _ = papers("rerun", "alpha", "--set", "model.temperature=0.2,0.3", "--dry-run", "--workers", "2")
    assert code == 0 and "10 to run" in out and "time with 2 workers: about 2 min" in out
    assert "records: changed-alpha/runs/alpha.jsonl" in out
    assert not played and not list(here.iterdir())


def test_weights_are_asked_of_every_run(papers, played, here):
    code, _, err = papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "1", "--keep-checkpoints")
    assert code == 0 and [run.keeps_weights for run in played] == [True]
    assert "1 of 1 runs of alpha@model.temperature=0.2 left no weights" in err  # as nothing trained
    place = played[0].checkpoint(here / "changed-alpha/logs")
    house.write(place, "")
    assert (
        f"weights: {place.relative_to(here).parent.parent}/seed*/last.ckpt"
        in papers("rerun", "alpha", "--set", "model.temperature=0.2", "--seeds", "1", "--keep-checkpoints")[1]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "model.temprature=1"], "unknown option model.temprature (did you mean 'temperature'?)"),
        (
            ["--set", "modle.temperature=1"],
            "unknown key (did you mean 'model.temperature'?); a key begins with model, data",
        ),
        (["--set", "temperature=1"], "unknown key (did you mean 'model.temperature'?)"),
        (["--set", "trainer.max_epoch=1"], "trainer.max_epoch (did you mean 'max_epochs'?)"),
        (["--set", "model.temperature=warm"], "model.temperature is 'warm'; it must be a number"),
        (["--set", "model.temperature=[1]"], "model.temperature is '[1]'; it must be a number"),
        (["--set", "trainer.max_epochs=-3"], "trainer.max_epochs is -3; it must be at least 0"),
        (["--set", "model.class_path=toyhouse.Other"], "another class takes other arguments"),
        (["--set", "model.temperature"], "it must be KEY=VALUE, as in model.temperature=0.1"),
        (["--set", "model.temperature="], "it must be KEY=VALUE"),
        (["--set", "model.temperature=1], [2"], "'1], [2' cannot be read as a value"),
        (["--set", "model.temperature=1", "--set", "model.temperature=2"], "--set names model.temperature twice"),
        (["--set", "model.temperature=1", "--set", "model.init_args.temperature=2"], "model.temperature twice"),
        (["--set", "model.temperature=1,2", "--set", "model.lr=1,2"], "one key at a time can be swept"),
        (["--set", "model.temperature=0.2,2e-1"], "--set model.temperature has 0.2 twice"),
        (["--set", "model.temperature=1e-1"], "model.temperature=0.1: that is what the arm 'alpha' has on record"),
        (["--set", "model.temperature=2", "--set", "trainer.max_epochs=1"], "trainer.max_epochs=1: that is what"),
        (["--set", "data.seed=3"], "the seeds are those on record"),
        (["--set", "trainer.devices=2"], "say it with --devices"),
        (["--set", "trainer.logger=false"], "does not change what a run finds"),
        (
            ["--set", "model.lr=1", "--arm", "alhpa"],
            "alpha/main has no arm 'alhpa' (did you mean 'alpha'?); it has:",
        ),
        (["--set", "model.lr=1", "--experiment", "bound"], "alpha/bound is a property, which has no recipe to change"),
        (["--set", "model.lr=1", "--experiment", "mian"], "alpha has no experiment 'mian' (did you mean 'main'?)"),
        (["--set", "model.lr=1", "--seeds", "9"], "--seeds is 9; the arm 'alpha' has 5 on record to pair with"),
        (["--set", "model.lr=1", "--out", "/dev/null/x"], "cannot be written"),
        (["--set", "model.lr=1", "--out", ""], "--out is ''; it must be a path"),
        (
            ["--set", "model.lr=1", "--results", "elsewhere"],
            "is not on record yet, to compare with; first:",
        ),
        (
            ["--set", "model.lr=1", "--recipe", "full"],
            "has no full recipe: there is no full.yaml beside its card",
        ),
        (["--set", "trainer.precision=bf16-mixed", "--precision", "32"], "one of them is enough"),
        (["beta", "--set", "model.lr=1"], "--set changes one paper's arm; 2 papers are named"),
        (["--arm", "alpha"], "--arm goes with --set KEY=VALUE"),
        (["--keep-checkpoints"], "--keep-checkpoints goes with --set KEY=VALUE"),
        (["--devices", "2"], "--devices is for --recipe full or --set"),
    ],
)
def test_a_wrong_request_is_one_line_before_anything_trains(recorded_house, capsys, played, here, arguments, said):
    # Nothing is written, so all share the house, and its sources are read once.
    code = cli.main(("rerun", "alpha", *arguments), recorded_house)
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err and not played and not list(here.iterdir())


def test_records_are_never_kept_among_the_official_ones(papers, root, here):
    for out in (root / "results", root / "results/mine"):
        code, _, err = papers("rerun", "alpha", "--set", "model.lr=1", "--out", str(out))
        assert code == 2 and "among the records that are compared with" in err
    assert not (root / "results/mine").exists()


def test_a_record_of_another_recipe_is_no_record(papers, root):
    recipe = root / "papers/toys/alpha/mini.yaml"
    recipe.write_text(recipe.read_text().replace("{batch_size: 4}", "{batch_size: 2}"))
    code, _, err = papers("rerun", "alpha", "--set", "model.lr=1")
    assert code == 2 and "has another recipe than on record; first: papers rerun alpha --experiment main" in err


def test_a_full_recipe_is_changed_beside_its_own_record(papers, played, root):
    folder = root / "papers/toys/alpha"
    (folder / "full.yaml").write_text((folder / "mini.yaml").read_text())
    code, _, err = papers("rerun", "alpha", "--set", "model.lr=1", "--recipe", "full")
    assert code == 2 and "first: papers rerun alpha --experiment main --recipe full" in err
    full = ("--recipe", "full", "--data-root", "there", "--results", "own")
    assert papers("rerun", "alpha", *full)[0] == 0
    recorded = len(played)
    code, out, err = papers("rerun", "alpha", "--set", "model.temperature=0.2", *full)
    assert code == 0, err
    assert "alpha/main (full.yaml), arm alpha: model.temperature 0.2 where the record has 0.1" in out
    assert [run.recipe for run in played[recorded:]] == ["full.yaml"] * 5
    assert {run.config["data"]["init_args"]["data_root"] for run in played[recorded:]} == {"there"}


def test_keys_are_listed_for_shells(papers):
    code, out, _ = papers("rerun", "alpha", "--keys")
    keys = out.split()
    assert code == 0 and {"model.temperature", "model.lr", "data.noise", "trainer.max_epochs"} <= set(keys)
    assert not {"data.seed", "data.data_root", "trainer.devices"} & set(keys)


COMMANDS = [line.strip() for line in GUIDE.read_text().splitlines() if line.startswith("papers ")]
NAMES = {"supcon": "alpha", "digits": "main", "simclr": "beta"}
"""What stands for the guide's paper, experiment and baseline in the house."""


def test_the_commands_of_the_guide_run(papers, played):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        words = command.partition("#")[0].split()[1:]
        words = [NAMES.get(word, word) for word in words]
        code, _, err = papers(*words)
        assert code == 0, (command, err)
    assert played
