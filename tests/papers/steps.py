"""The losses of a paper's first steps on a number of processes, which share one global batch."""

import os
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from harness.recipes import catalog, recipe
from tests import pool

STEPS = 4


class Losses(L.Callback):
    """The loss of each step, the mean over the processes."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        loss = outputs["loss"].detach().clone()
        if dist.is_initialized():
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        self.values.append(float(loss))


def losses(processes: int, slug: str, overrides: dict[str, Any]) -> list[float]:
    """Of the first four steps of the mini recipe with the overrides."""
    if processes == 1:
        return _train(1, slug, overrides)
    return pool.run(processes, _train, processes, slug, overrides)[0]


def _train(processes: int, slug: str, overrides: dict[str, Any]) -> list[float]:
    if processes > 1:
        # Lightning then takes part in the group that is there instead of starting processes of its own.
        os.environ |= {"RANK": str(dist.get_rank()), "LOCAL_RANK": str(dist.get_rank()), "WORLD_SIZE": str(processes)}
    config = dict(recipe.load_recipe(catalog.find(slug), "mini.yaml").data)
    config = recipe.with_seed(recipe.merge(config, overrides), 0)
    trainer = {key: value for key, value in config["trainer"].items() if key != "max_epochs"}
    strategy = trainer.pop("strategy", "ddp")
    several = {"strategy": strategy, "devices": processes} if processes > 1 else {}
    config["trainer"] = trainer | {"max_steps": STEPS, "accelerator": "cpu"} | several
    seen = Losses()
    trainer, module, benchmark = recipe.build(config, callbacks=(seen,))
    trainer.fit(module, benchmark)
    torch.use_deterministic_algorithms(False)
    return seen.values
