"""What a run as published takes, as far as it can be told before it starts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from harness.recipes.recipe import build_model
from harness.running.run import Run

_BYTES = {"adamw": 16, "lamb": 16, "sgd": 12, "lars": 12, "larc": 12, "adafactor": 8}
"""A parameter in float32, its gradient and what the optimizer keeps of it."""


class Needs(NamedTuple):
    """What of a method's memory can be told from its recipe."""

    trained: int
    """Parameters that are trained."""
    kept: int
    """Numbers that are only kept: frozen parameters, teachers and buffers."""
    optimizer: str
    bytes_each: int
    """Of a trained parameter, its gradient and what the optimizer keeps."""

    @property
    def gigabytes(self) -> float:
        """On a device, in GiB, without activations."""
        return (self.trained * self.bytes_each + 4 * self.kept) / 2**30


def needs(model: dict[str, Any]) -> Needs:
    """Counts a module's parameters without memory for them.

    Args:
        model: the section of a recipe.

    Raises:
        UserError: the module cannot be built here, for want of a vocabulary, say.
    """
    with torch.device("meta"):
        module = build_model(model)
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    kept = sum(t.numel() for t in (*module.parameters(), *module.buffers())) - trained
    optimizer = model.get("init_args", {}).get("optimizer", "adamw")
    return Needs(trained, kept, optimizer, _BYTES.get(optimizer, 16))


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
    found = needs(first.config["model"])
    trainer, data = first.config.get("trainer", {}), first.config["data"].get("init_args", {})
    samples = data.get("batch_size", "the default number of")
    return [
        f"memory: at least {found.gigabytes:.1f} GiB a device for {found.trained / 1e6:.0f} million parameters, "
        f"gradients and {found.optimizer}; activations of {samples} samples at a time come on top",
        f"time: {len(trained)} runs of {length(trainer)} each; how long a step takes shows once the first run trains",
        "disk: the data as published (see data.data_root), and a few MB of logs a run; no checkpoints are kept",
    ]


def length(trainer: dict[str, Any]) -> str:
    """How long a training is by its recipe, as in "100 epochs"."""
    for key in ("max_steps", "max_epochs", "max_time"):
        if trainer.get(key) not in (None, -1):
            return f"{trainer[key]} {key.removeprefix('max_')}"
    return "1000 epochs"
