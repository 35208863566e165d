"""What a run as published takes, as far as it can be told before it starts."""

from collections.abc import Sequence
from typing import Any

import torch

from harness.recipes.recipe import build_model
from harness.running.run import Run

_BYTES = {"adamw": 16, "sgd": 12, "lars": 12, "larc": 12, "adafactor": 8}
"""A parameter in float32, its gradient and what the optimizer keeps of it."""


def cost(runs: Sequence[Run]) -> list[str]:
    """Memory, steps and disk in words, one line each.

    Args:
        runs: of one recipe, not on record yet.
    """
    # An untrained network costs its scoring alone.
    trained = [run for run in runs if run.config is not None and run.config.get("trainer", {}).get("max_steps") != 0]
    if not trained:
        return []
    first = trained[0]
    with torch.device("meta"):
        module = build_model(first.config["model"])
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    optimizer = first.config["model"].get("init_args", {}).get("optimizer", "adamw")
    gigabytes = parameters * _BYTES.get(optimizer, 16) / 2**30
    trainer, data = first.config.get("trainer", {}), first.config["data"].get("init_args", {})
    samples = data.get("batch_size", "the default number of")
    return [
        f"memory: at least {gigabytes:.1f} GiB a device for {parameters / 1e6:.0f} million parameters, gradients and "
        f"{optimizer}; activations of {samples} samples at a time come on top",
        f"time: {len(trained)} runs of {_length(trainer)} each; how long a step takes shows once the first run trains",
        "disk: the data as published (see data.data_root), and a few MB of logs a run; no checkpoints are kept",
    ]


def _length(trainer: dict[str, Any]) -> str:
    for key in ("max_steps", "max_epochs", "max_time"):
        if trainer.get(key) not in (None, -1):
            return f"{trainer[key]} {key.removeprefix('max_')}"
    return "1000 epochs"
