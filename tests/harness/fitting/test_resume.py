"""Which checkpoints a training leaves, and which one --resume goes on with."""

import importlib.util
from pathlib import Path

import pytest
import torch

from harness import cli
from harness.fitting import fit as fitting
from harness.fitting.folders import new_folder, newest
from tests.harness.fitting.test_fit import SHUFFLED, fit
from tests.harness.toy import edit

STEADY = ["--model.schedule", "constant"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def weights(path: Path) -> torch.Tensor:
    return torch.load(path, weights_only=True)["state_dict"]["linear.weight"]


def step(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize("first", [["--trainer.max_epochs", "1"], ["--trainer.max_steps", "6"]])
def test_a_resumed_training_ends_as_one_that_never_stopped(card, logs, capsys, first):
    (card.root / "shuffled.py").write_text(SHUFFLED)
    steady = [*STEADY, "--data", "shuffled.Shuffled"]
    whole = fit(card, *steady, "--trainer.max_epochs", "3", logs=logs)
    other = logs.parent / "other"
    stopped = fit(card, *steady, *first, logs=other)
    fit(card, *steady, "--trainer.max_epochs", "3", "--resume", logs=other)
    assert f"--resume: going on from {stopped}" in capsys.readouterr().err
    assert step(stopped) == 12 and torch.equal(weights(stopped), weights(whole))
    assert len(list((other / "toy/fit").iterdir())) == 1  # in the folder where it began


def test_the_best_is_kept_by_the_primary_metric_the_way_it_is_better(card, logs):
    last = fit(card, "--model.lr", "3.0", "--trainer.max_epochs", "1", *STEADY, logs=logs)
    best = last.with_name("best.ckpt")
    for epochs in ("2", "3"):
        resumed = ["--resume", "--model.lr", "3.0", "--trainer.max_epochs", epochs, *STEADY]
        fit(card, *resumed, logs=logs)
    state = next(v for k, v in torch.load(last, weights_only=True)["callbacks"].items() if k.startswith("Best"))
    assert state["monitor"] == "val/repeat/error" and state["best_model_path"] == str(best)
    assert step(last) == 12
    assert state["best_model_score"] == min(validated(logs)) and len(validated(logs)) == 3


def validated(logs: Path) -> list[float]:
    """What each validation found."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs / "toy/fit/version_0"))
    events.Reload()
    return [event.value for event in events.Scalars("val/repeat/error")]


def test_nothing_is_best_where_nothing_is_validated(card, logs, capsys):
    last = fit(card, "--trainer.limit_val_batches", "0", logs=logs)
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert "best:" not in capsys.readouterr().out


def test_another_recipe_begins_anew_and_says_what_differs(card, logs, capsys):
    fit(card, "--trainer.max_epochs", "1", "--resume", logs=logs)
    assert "no checkpoint of this training is under" in capsys.readouterr().err
    fit(card, "--trainer.max_epochs", "1", "--resume", "--model.lr", "0.5", logs=logs)
    assert "has model.lr 0.05 (here 0.5); it begins anew" in capsys.readouterr().err
    assert (logs / "toy/fit/version_1/checkpoints/last.ckpt").is_file()
    fit(card, "--trainer.max_epochs", "1", "--resume", "--seed_everything", "1", logs=logs)
    assert "has seed_everything" in capsys.readouterr().err
    # The newest of the same, and not the newest of all.
    fit(card, "--trainer.max_epochs", "2", "--resume", logs=logs)
    assert step(logs / "toy/fit/version_0/checkpoints/last.ckpt") == 8


def test_a_config_that_cannot_be_read_is_no_training(tmp_path):
    folder = tmp_path / "version_4"
    folder.mkdir()
    (folder / "last.ckpt").touch()
    (folder / "config.yaml").write_text("a: [")
    assert newest(tmp_path, {}) == (None, "")
    assert new_folder(tmp_path, []).name == "version_5"


def test_a_job_of_slurm_has_a_folder_for_each_command(monkeypatch, tmp_path):
    for name, value in {"NTASKS": "1", "JOB_ID": "12", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    one, other = new_folder(tmp_path, ["model.lr=1"]), new_folder(tmp_path, ["model.lr=2"])
    assert one != other and one == new_folder(tmp_path, ["model.lr=1"]) and one.name.startswith("job_12_")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert new_folder(tmp_path, []).name.startswith("job_9_3_")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert new_folder(tmp_path, []).name == "version_0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "toy", "--resume", "--ckpt_path", "last"], "--resume and --ckpt_path exclude each other"),
        (["test", "toy", "--resume", "--ckpt_path", "last"], "--resume is for papers fit"),
        (["test", "toy", "--dry-run", "--untrained"], "--dry-run is for papers fit"),
        (["fit", "toy", "--recipe", "full"], "toy has no recipe 'full.yaml'; it has: mini.yaml"),
        (["fit", "toy", "--recipe"], "--recipe needs a value"),
        (
            ["fit", "toy", "--trainer.logger", "lightning.pytorch.loggers.NeptuneLogger"],
            "trainer.logger is 'lightning.pytorch.loggers.NeptuneLogger', and its package neptune is not installed: "
            "pip install neptune",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(toy_root, capsys, words, said):
    assert cli.main(words, toy_root) == 2
    assert capsys.readouterr().err == f"papers: {said}\n"


def test_a_logger_of_a_recipe_needs_its_package(card, logs, monkeypatch):
    mlflow = "lightning.pytorch.loggers.MLFlowLogger"
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mlflow" else find(name, *rest)
    )
    edit(card, "  accelerator: cpu", f"  accelerator: cpu\n  logger:\n    class_path: {mlflow}")
    with pytest.raises(fitting.UserError, match="its package mlflow is not installed"):
        fit(card, logs=logs)


def test_other_loggers_leave_checkpoints_and_config_in_the_folder(card, logs):
    fit(card, "--trainer.logger", "lightning.pytorch.loggers.CSVLogger", logs=logs)
    folder = logs / "toy/fit/version_0"
    assert (folder / "config.yaml").is_file() and (folder / "checkpoints/last.ckpt").is_file()
    fit(card, "--trainer.logger", "false", "--trainer.max_epochs", "3", "--resume", logs=logs)
    assert step(folder / "checkpoints/last.ckpt") == 12
