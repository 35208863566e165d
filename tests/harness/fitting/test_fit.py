"""`papers fit`, `validate` and `test`, on the toy paper."""

import inspect
import pickle
import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from common.errors import NonFiniteLoss, UserError
from harness.fitting import fit as fitting

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def run(card, subcommand: str, *options: str, logs: Path | None = None) -> None:
    fitting.run_subcommand(card, subcommand, [*options, *QUIET], logs)


def fit(card, *options: str, logs: Path | None = None) -> Path:
    """Trains, and returns the checkpoint."""
    run(card, "fit", *options, logs=logs)
    return newest(logs or card.root / "logs")


def newest(logs: Path) -> Path:
    return max(logs.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)


def test_fit_takes_mini_yaml_and_its_checkpoint_loads_with_weights_only(card, logs):
    path = fit(card, "--model.dropout", "0.2", "--trainer.max_epochs", "1", logs=logs)
    folder = logs / "toy/fit/version_0"
    assert (folder / "config.yaml").is_file() and path.name == "last.ckpt"
    assert {path.name for path in folder.glob("checkpoints/*")} == {"best.ckpt", "last.ckpt"}
    checkpoint = torch.load(path, weights_only=True)
    hparams = checkpoint["hyper_parameters"]
    assert hparams["width"] == 4 and hparams["dropout"] == 0.2
    loaded = sys.modules["toylab"].Repeat.load_from_checkpoint(path, weights_only=True)
    assert loaded.dropout.p == 0.2
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_recipe_named_on_the_command_line_stands_alone(card, logs):
    text = (
        (card.folder / "mini.yaml").read_text().replace("max_epochs: 2", "max_steps: 1").replace("    lr: 5e-2\n", "")
    )
    (card.folder / "full.yaml").write_text(text)
    for option in (["--config", "full.yaml"], ["--config=full.yaml"], ["-c", "full.yaml"]):
        assert fitting._with_recipe(card, option)[-1].endswith(str(card.folder / "full.yaml"))
    fit(card, "--config", "full.yaml", logs=logs)
    saved = (logs / "toy/fit/version_0/config.yaml").read_text()
    assert "lr: 0.001" in saved and "max_epochs: null" in saved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.width", "four"], "model.width is 'four'; it must be a whole number"),
        (["--model.widht", "4"], "unknown option model.widht (did you mean 'width'?)"),
        (["--data.size", "0"], "data.size is 0; it must be at least 1"),
        (["--trainer.max_steps", "x"], "trainer.max_steps is 'x'; it must be a whole number"),
        (["--colour", "red"], "unknown arguments: --colour red"),
        (["--config", "fulll.yaml"], "toy has no recipe 'fulll.yaml'; it has: mini.yaml"),
        (["--data", "toylab.Nothing"], "data.class_path is 'toylab.Nothing', which cannot be imported: no 'Nothing'"),
        (["--trainer.accelerator", "foo"], "trainer.accelerator is 'foo'; this machine has auto, cpu"),
        (["--trainer.devices", "2.5"], "trainer.devices is '2.5'; it must be auto, a number"),
        (["--trainer.devices", "0"], "trainer.devices is "),
        (["--trainer.num_nodes", "0"], "trainer.num_nodes is 0; it must be at least 1"),
        (["--trainer.max_epochs", "-5"], "trainer.max_epochs is -5; it must be at least 0 or -1 or null"),
        (["--trainer.max_steps=-7"], "trainer.max_steps is -7; it must be at least 0 or -1"),
        (["--trainer.val_check_interval", "0"], "trainer.val_check_interval is 0; it must be above 0 and at most 1.0"),
        (
            ["--trainer.precision", "bf16-true"],
            "trainer.precision is 'bf16-true'; it must be 32 or 32-true or 16-mixed",
        ),
        (["--trainer.strategy", "foo"], "trainer.strategy is 'foo'; it must be one of auto, ddp"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches is 0; it must be at least 1"),
        (["--trainer.check_val_every_n_epoch", "0"], "trainer.check_val_every_n_epoch is 0; it must be at least 1"),
        (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val is -1"),
        (
            ["--trainer.limit_train_batches", "1.5"],
            "trainer.limit_train_batches is 1.5; it must be a number",
        ),
        (["--trainer.max_time", "soon"], "trainer: "),
        (["--trainer.profiler", "foo"], "trainer: "),
        (["--seed_everything", "-1"], "seed_everything is -1; it must be from 0 to 2^32 - 1"),
        (["--seed_everything", "{a: 1}"], "seed_everything is "),
        (["--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:00:01"], "model.schedule is 'cosine'"),
        (["--weights_only", "false"], "unknown arguments: --weights_only false"),
        (["--ckpt_path", "nowhere.ckpt"], "--ckpt_path: nowhere.ckpt does not exist"),
        (["--ckpt_path", "."], "--ckpt_path: . is a folder"),
        (["--ckpt_path", ""], "--ckpt_path is ''; it must be a path"),
        (["--ckpt_path", "best"], "--ckpt_path is 'best'; it must be a checkpoint's path, or 'last'"),
        (["--ckpt_path", "last"], "--ckpt_path is 'last', but there is no checkpoint under "),
        (["--ckpt_path", "https://example.org/x.ckpt"], "--ckpt_path: https:/example.org/x.ckpt does not exist"),
        (["--ckpt_path", "~nobody_at_all/x"], "--ckpt_path is '~nobody_at_all/x', whose home"),
    ],
)
def test_a_faulty_override_is_one_clear_line(card, logs, options, message):
    with pytest.raises(UserError) as error:
        fit(card, *options, logs=logs)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_logs_that_cannot_be_written_are_told_at_once(card, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        fit(card, logs=tmp_path / "file")


def test_a_loss_that_is_not_finite_stops_fit_and_names_step_and_term(card, logs):
    with pytest.raises(NonFiniteLoss, match=r"^step 2: the term 'error' is nan"):
        fit(card, "--model.fault", "nan", logs=logs)


def batches_seen(monkeypatch) -> list[float]:
    """A number for each batch that is trained on from now."""
    import toylab

    seen, step = [], toylab.Repeat.training_step

    def remember(self, batch, batch_idx):
        seen.append(batch.sum().item())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(toylab.Repeat, "training_step", remember)
    return seen


def test_a_training_that_time_alone_ends(card, logs):
    ended = ["--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:00:01"]
    fit(card, *ended, "--model.schedule", "constant", logs=logs)


def test_what_the_command_says_holds_over_the_checkpoint(card, logs, capsys):
    path = fit(card, "--model.dropout", "0.3", "--model.lr", "0.5", logs=logs)
    capsys.readouterr()
    run(card, "fit", "--ckpt_path", str(path), "--model.lr", "0.25", "--trainer.max_epochs", "3", logs=logs)
    assert (
        "was trained with model.dropout 0.3 (here 0.1), model.lr 0.5 (here 0.25); what the" in capsys.readouterr().err
    )
    saved = torch.load(newest(logs), weights_only=True)
    assert saved["hyper_parameters"]["lr"] == 0.25 and saved["global_step"] == 12


def test_scoring_asks_for_a_checkpoint_or_says_untrained(card, logs, capsys):
    for subcommand in ("test", "validate"):
        with pytest.raises(UserError, match=rf"^papers {subcommand} needs --ckpt_path FILE, as from `papers fit toy`"):
            run(card, subcommand, logs=logs)
    run(card, "test", "--untrained", logs=logs)
    out, err = capsys.readouterr()
    assert "repeat/error" in out and "toy is scored untrained" in err
    path = fit(card, logs=logs)
    run(card, "test", "--ckpt_path", "last", logs=logs)
    out, err = capsys.readouterr()
    assert "repeat/error" in out and str(path) in err
    with pytest.raises(UserError, match="exclude each other"):
        run(card, "test", "--untrained", "--ckpt_path", "last", logs=logs)


class Executes:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def damaged(kind: str, path: Path, executed: Path) -> None:
    """Makes the checkpoint at `path` one that must not be taken."""
    content = torch.load(path, weights_only=True)
    weights, hparams = content["state_dict"], content["hyper_parameters"]
    if kind == "garbage":
        path.write_bytes(b"\x80\x02garbage" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-700])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Executes(executed)))
    else:
        match kind:
            case "code":
                content["more"] = Executes(executed)
            case "class":
                hparams["_class_path"] = "toylab.Other"
            case "argument":
                hparams["depth"] = 3
            case "shape":
                weights["linear.weight"] = torch.zeros(4, 5)
            case "unknown":
                weights["more.weight"] = torch.zeros(2)
            case "missing":
                del weights["linear.bias"]
            case "nan":
                weights["linear.weight"] = torch.full((4, 4), torch.nan)
            case "weights alone":
                del content["optimizer_states"]
            case "loops":
                content["loops"]["fit_loop"] = "x"
            case "no weights":
                del content["state_dict"]
            case "a list":
                content = [1, 2]
        torch.save(content, path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("garbage", "is no checkpoint"),
        ("empty", "is no checkpoint"),
        ("truncated", "is no checkpoint, or damaged"),
        ("pickle", "so it is not loaded"),
        ("code", "so it is not loaded"),
        ("class", "is of toylab.Other, not of toylab.Repeat"),
        ("argument", "was trained with model.depth 3, which Repeat does not take"),
        ("shape", "it has linear.weight of shape (4, 5) for (4, 4)"),
        ("unknown", "it has more.weight, which it does not have"),
        ("missing", "it lacks linear.bias"),
        ("nan", "is of a training that diverged: linear.weight has NaN in it"),
        ("weights alone", "holds weights alone"),
        ("loops", "cannot be taken up"),
        ("no weights", "holds no weights"),
        ("a list", "holds no weights"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(card, logs, tmp_path, kind, said):
    path = fit(card, "--trainer.max_epochs", "1", logs=logs)
    damaged(kind, path, tmp_path / "executed")
    for subcommand in ("fit", "test"):
        if kind in ("weights alone", "loops") and subcommand == "test":
            continue
        with pytest.raises(UserError) as error:
            run(card, subcommand, "--ckpt_path", str(path), logs=logs)
        assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500
    assert not (tmp_path / "executed").exists()


def test_the_last_lines_say_score_files_and_how_to_go_on(card, logs, capfd):
    path = fit(card, logs=logs)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert "repeat/error" in lines[-6] and lines[-6].startswith("after step 8: ")
    assert lines[-4].startswith(f"best:       {path.parent / 'best.ckpt'}, val/repeat/error 0.")
    assert lines[-3] == f"checkpoint: {path}"
    assert lines[-2] == f"score it:   papers test toy --ckpt_path {path}"
    assert lines[-1] == f"go on:      papers fit toy {' '.join(QUIET)} --resume --trainer.max_epochs 4"
    assert err == ""


def test_a_recipe_may_state_its_budget(card, logs):
    path = card.folder / "mini.yaml"
    path.write_text(path.read_text().replace("seed_everything: 0\n", "seed_everything: 0\nbudget_s: 30\n"))
    assert fit(card, "--trainer.max_epochs", "1", logs=logs).is_file()


PAIRS = """
from typing import NamedTuple

from torch import Tensor, ones
from torch.utils.data import DataLoader

from toylab import Numbers


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class Pairs(Numbers):
    name = "pairs"

    def train_dataloader(self):
        return DataLoader(range(3), collate_fn=lambda _: Pair(ones(4), ones(4)))
"""


def test_a_benchmark_that_the_method_cannot_stand_on_is_one_line(card, logs):
    (card.root / "pairlab.py").write_text(PAIRS)
    with pytest.raises(UserError) as error:
        fit(card, "--data", "pairlab.Pairs", logs=logs)
    assert str(error.value) == (
        "Repeat reads Tensor; the benchmark pairs gives Pair (left, right); benchmarks that fit: numbers"
    )


SHUFFLED = """
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from toylab import Numbers


class Shuffled(Numbers):
    def train_dataloader(self):
        return ResumableLoader(self.samples, batch_sampler=GlobalBatchSampler(self.size, 8, self.seed))


class Whole(Numbers):
    def train_dataloader(self):
        return ResumableLoader(self.samples, sampler=GlobalBatchSampler(self.size, 8, self.seed), batch_size=None)
"""


def test_one_batch_is_no_share_whoever_wrote_the_union_first(card, logs, monkeypatch):
    annotations = inspect.unwrap(L.Trainer.__init__).__annotations__
    monkeypatch.setitem(annotations, "limit_train_batches", float | int | None)
    seen = batches_seen(monkeypatch)
    fit(card, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "2", logs=logs)
    assert len(seen) == 2


@pytest.mark.parametrize("data", ["shuffled.Shuffled", "shuffled.Whole"])
def test_overfitting_keeps_our_samplers_from_shuffling(card, logs, monkeypatch, data):
    (card.root / "shuffled.py").write_text(SHUFFLED)
    seen = batches_seen(monkeypatch)
    fit(card, "--data", data, "--trainer.overfit_batches", "2", "--trainer.max_epochs", "3", logs=logs)
    assert len(seen) == 6 and seen[:2] == seen[2:4] == seen[4:] and seen[0] != seen[1]
    seen.clear()
    fit(card, "--data", data, "--trainer.limit_train_batches", "2", "--trainer.max_epochs", "3", logs=logs)
    assert len(set(seen)) == 6


def test_what_is_written_stands_where_it_was_told(card, logs, tmp_path):
    run(card, "fit", "--trainer.default_root_dir", str(tmp_path / "mine"), logs=logs)
    assert list((tmp_path / "mine/toy/fit").rglob("*.ckpt")) and not list(logs.rglob("*.ckpt"))
