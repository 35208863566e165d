import copy

import pytest
import torch

from common.errors import UserError
from harness.recipes import recipe
from harness.recipes.lightning_cli import explain
from tests.harness.toy import edit, reread, toy_hash


def toy_config(card, arm: str = "repeat", seed: int = 0) -> dict:
    card = reread(card)
    return recipe.with_seed(recipe.arm_config(card, card.experiment("main"), arm), seed)


def test_overrides_merge_key_by_key_and_another_class_replaces_the_arguments():
    base = {"model": {"class_path": "a.A", "init_args": {"x": 1, "y": [1, 2]}}, "trainer": {"max_steps": 3}}
    before = copy.deepcopy(base)
    assert recipe.merge(base, {"model": {"init_args": {"y": [3]}}}) == {
        "model": {"class_path": "a.A", "init_args": {"x": 1, "y": [3]}},
        "trainer": {"max_steps": 3},
    }
    same = {"model": {"class_path": "a.A", "init_args": {"x": 2}}}
    assert recipe.merge(base, same)["model"]["init_args"] == {"x": 2, "y": [1, 2]}
    assert recipe.merge(base, {"model": {"class_path": "b.B"}})["model"] == {"class_path": "b.B"}
    nested = {"init_args": {"head": {"class_path": "h.H", "init_args": {"n": 1}}}}
    assert recipe.merge(nested, {"init_args": {"head": {"class_path": "h.G"}}})["init_args"]["head"] == {
        "class_path": "h.G"
    }
    assert base == before


def test_defaults_are_filled_in(card):
    resolved = recipe.resolve(toy_config(card, seed=3))
    written, defaults = {"width": 4, "lr": 0.05}, {"dropout": 0.1, "fault": "none", "schedule": "cosine", "warmup": 0.0}
    assert resolved["model"]["init_args"].items() >= (written | defaults).items()
    assert resolved["data"]["init_args"]["seed"] == resolved["seed_everything"] == 3
    assert resolved["trainer"]["use_distributed_sampler"] is False


@pytest.mark.parametrize("given", [None, False])
def test_a_laptops_recipe_is_repeatable_unless_it_says_otherwise(card, given):
    config = toy_config(card, seed=3)
    if given is not None:
        config["trainer"]["deterministic"] = given
    recipe.build(config)
    assert torch.are_deterministic_algorithms_enabled() is (given is None)
    config["trainer"]["accelerator"] = "auto"
    recipe.build(config)
    assert not torch.are_deterministic_algorithms_enabled()


# what to write into the recipe, and the whole message; %d is the line
FAULTS = {
    "type": ("width: 4", "width: four", 6, "model.width is 'four'; it must be a whole number"),
    "null": ("lr: 5e-2", "lr: null", 7, "model.lr is null; it must be a number"),
    "choice": ("width: 4", "fault: fire", 6, "model.fault is 'fire'; it must be 'none' or 'nan' or 'crash' or 'die'"),
    "unknown": (
        "width: 4",
        "widht: 4",
        6,
        "unknown option model.widht (did you mean 'width'?); Repeat takes",
    ),
    "class": ("toylab.Repeat", "toylab.Repaet", 4, "model.class_path is 'toylab.Repaet', which cannot be imported"),
    "module": ("toylab.Repeat", "toylap.Repeat", 4, "model.class_path is 'toylap.Repeat', which cannot be imported"),
    "no model": (
        "toylab.Repeat",
        "torch.nn.Linear",
        4,
        "model.class_path is 'torch.nn.Linear', which is no",
    ),
    "no data": ("toylab.Numbers", "toylab.Repeat", 9, "data.class_path is 'toylab.Repeat', which is no Benchmark"),
    "data": ("size: 32", "size: 2.5", 11, "data.size is '2.5'; it must be a whole number"),
    "trainer": ("max_epochs: 2", "max_epoch: 2", 13, "unknown option trainer.max_epoch (did you mean 'max_epochs'?)"),
    "trainer type": (
        "max_epochs: 2",
        "max_epochs: two",
        13,
        "trainer.max_epochs is 'two'; it must be a whole",
    ),
    "section": ("trainer:", "trianer:", 12, "unknown section 'trianer' (did you mean 'trainer'?)"),
    "key": (
        "toylab.Repeat\n  init_args",
        "toylab.Repeat\n  int_args",
        5,
        "unknown key 'int_args' in 'model'",
    ),
    "yaml": ("trainer:", "trainer: }", 12, "not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_recipe_is_refused_with_file_line_and_what_is_allowed(card, fault):
    old, new, line, message = FAULTS[fault]
    edit(card, old, new)
    with pytest.raises(UserError) as error:
        toy_hash(card)
    assert str(error.value).startswith(f"papers/toys/toy/mini.yaml:{line}: {message}")
    assert "\n" not in str(error.value)


def test_a_fault_of_an_arm_is_placed_in_the_card(card):
    edit(card, "{class_path: toylab.Plain, init_args: {lr: 5e-2}}", "{init_args: {widht: 3}}", "paper.yaml")
    line = (card.folder / "paper.yaml").read_text().split("widht")[0].count("\n") + 1
    with pytest.raises(UserError, match=rf"^papers/toys/toy/paper\.yaml:{line}: unknown option model\.widht"):
        toy_hash(card, "plain")
    toy_hash(card, "repeat")


def test_an_unknown_message_is_still_one_line():
    assert explain('Parser key "x":\n  something\n  else') == '"x": something else'


def test_an_error_of_a_constructor_is_let_through(card):
    config = toy_config(card)
    config["data"]["init_args"]["size"] = 0
    for build in (lambda: recipe.build(config), lambda: recipe.build_benchmark(config["data"])):
        with pytest.raises(UserError) as error:
            build()
        assert str(error.value) == "data.size is 0; it must be at least 1"


def test_without_a_log_folder_nothing_is_written(card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "papers")
    trainer, module, benchmark = recipe.build(toy_config(card))
    trainer.fit(module, benchmark)
    assert trainer.global_step == 8
    assert [path.name for path in (tmp_path / "papers").iterdir()] == ["toys"]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("small_resnett", "model.encoder is 'small_resnett' (did you mean 'small_resnet'?); it must be one of "),
        (
            {"name": "timm:resnet18", "frozn": True},
            "unknown option model.encoder.frozn (did you mean 'frozen'?)",
        ),
        ({"frozen": True}, "model.encoder.name is missing"),
        ({"name": "resnet18"}, "model.encoder is 'resnet18'"),
    ],
)
def test_a_wrong_encoder_in_a_recipe_is_told_before_anything_is_built(encoder, message):
    config = {
        "model": {"class_path": "papers.classification.supcon.module.SupCon", "init_args": {"encoder": encoder}},
        "data": {"class_path": "data.benchmarks.mini.digits.Digits"},
    }
    with pytest.raises(UserError) as error:
        recipe.resolve(config)
    assert str(error.value).startswith(message)


def test_an_encoder_of_ones_own_is_kept_as_plain_values():
    own = {"name": "timm:resnet18", "frozen": True}
    config = {
        "model": {"class_path": "papers.classification.supcon.module.SupCon", "init_args": {"encoder": own}},
        "data": {"class_path": "data.benchmarks.mini.digits.Digits"},
    }
    assert recipe.resolve(config)["model"]["init_args"]["encoder"] == own
