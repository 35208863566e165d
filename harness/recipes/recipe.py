"""Recipes: the YAML of an experiment, what its arms change, and the objects it builds."""

import contextlib
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import lightning as L
from lightning.pytorch import Callback, LightningModule

from common.benchmark import Benchmark
from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.card import Card, Comparison, untrained
from harness.recipes.catalog import importable
from harness.recipes.lightning_cli import PapersCLI, own_errors, readable_errors
from harness.recipes.written import arm_config, load_recipe, merge


def resolve(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the defaults of every constructor filled in.

    Raises:
        UserError: an unknown argument, or a value of the wrong type; names key, value and what is allowed.
    """
    return PapersCLI(config, run=False, build=False).resolved()


def resolve_arm(card: Card, experiment: Comparison, arm: str, recipe: str | None = None) -> dict[str, Any]:
    """`resolve` for an arm; errors begin with the file and the line at fault."""
    importable(card.root)
    config = arm_config(card, experiment, arm, recipe)
    try:
        return resolve(config)
    except UserError as error:
        raise UserError(f"{_place(card, experiment, arm, recipe, str(error))}: {error}") from None


def _place(card: Card, experiment: Comparison, arm: str, recipe: str | None, message: str) -> str:
    """Where the key that an error message names stands: in the card's arm or in the recipe."""
    key = re.search(r"\b(model|data|trainer)((?:\.\w+)*)", message)
    document = load_recipe(card, recipe or experiment.recipe)
    if not key:
        return document.shown
    section, *rest = key[0].split(".")
    ways: list[tuple[str, ...]] = [(section, *rest), *([(section, "init_args", *rest)] if section != "trainer" else [])]
    index, arm = card.experiments.index(experiment), arm.removesuffix(untrained(""))
    in_card = yaml_lines.load(card.path, card.root)
    for way in reversed(ways):
        where: yaml_lines.Location = ("experiments", index, "arms", arm, *way)
        if where in in_card.lines:
            return in_card.at(where)
        if way in document.lines:
            return document.at(way)
    return document.at((section,))


def with_seed(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The configuration for one seed: it fixes the initial weights and the order and augmentation of the data."""
    return merge(config, {"seed_everything": seed, "data": {"init_args": {"seed": seed}}})


def build_model(model: dict[str, Any]) -> LightningModule:
    """The module alone, from the `model` section of a recipe."""
    return _build(LightningModule, "model", model)


def build_benchmark(data: dict[str, Any]) -> Benchmark:
    """The benchmark alone, from the `data` section of a recipe."""
    return _build(Benchmark, "data", data)


def _build(base: type, section: str, content: dict[str, Any]) -> Any:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, section)
    with readable_errors():
        parsed = parser.parse_object({section: content})
    with own_errors():
        return parser.instantiate_classes(parsed)[section]


def tensorboard(folder: Path, name: str = "", version: str | None = "") -> dict[str, Any]:
    """The logger as a recipe would write it."""
    arguments = {"save_dir": str(folder), "name": name, "version": version}
    return {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": arguments}


def build(
    config: dict[str, Any], log_folder: Path | None = None, callbacks: tuple[Callback, ...] = ()
) -> tuple[L.Trainer, LightningModule, Benchmark]:
    """What an unattended run needs: one device, no checkpoint and no validation unless the recipe asks for them.

    Args:
        config: as from `arm_config`, with a seed (see `with_seed`).
        log_folder: where TensorBoard's events and the resolved config.yaml go; None logs nothing.
    """
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    logger: Any = False
    if log_folder is not None:
        logger = tensorboard(log_folder) | {"class_path": "harness.recipes.logs.RunLogger"}
    trainer = quiet | {"limit_val_batches": 0, "devices": 1, "logger": logger, "callbacks": list(callbacks)}
    cli = PapersCLI(config, trainer, run=False, save_config=False)
    if log_folder is not None:
        with contextlib.suppress(OSError):  # a full disk, of which the logger will tell
            log_folder.mkdir(parents=True, exist_ok=True)
            (log_folder / "config.yaml").write_text(cli.parser.dump(cli.config, skip_none=False), encoding="utf-8")
    return cli.trainer, cli.model, cli.datamodule


class StepReporter(Callback):
    """Tells `report` the steps done and their total, about twice a second."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self.report = report
        self.last = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if time.monotonic() - self.last > 0.5:
            self.last = time.monotonic()
            total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
            # A training that only time ends has no total.
            self.report(trainer.global_step, int(total) if math.isfinite(total) else trainer.global_step)
