"""What a run does: trains a recipe and scores it, or asks a check."""

import importlib
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from harness.running.run import WEIGHTS, Findings, Run

if TYPE_CHECKING:
    import numpy as np


def training(
    run: Run, log_folder: Path | None, report: Callable[[int, int], None], note: Callable[[str], None]
) -> Callable[[], Findings]:
    """What trains and scores a run, once the libraries are loaded."""
    import torch

    from harness.recipes import recipe
    from harness.records.canary import FirstLosses
    from harness.running.mean_losses import MeanLosses

    _same_state(torch)

    def work() -> Findings:
        first, mean = FirstLosses(), MeanLosses()
        trainer, module, benchmark = recipe.build(run.config, log_folder, (recipe.StepReporter(report), first, mean))
        trainer.fit(module, benchmark)
        if failure := getattr(trainer.logger, "failure", None):
            note(f"its logs are not whole: {failure}")
        if run.keeps_weights and log_folder is not None:
            try:
                trainer.save_checkpoint(log_folder / WEIGHTS, weights_only=True)
            except (OSError, RuntimeError) as error:  # torch's own word for a full disk
                note(f"its weights are not kept: {error}")
        device = trainer.strategy.root_device
        module.to(device).eval()
        with torch.no_grad():
            found = benchmark.evaluate(module, run.split)
        device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return Findings(
            benchmark.name,
            {name: float(value) for name, value in found.items()},
            trainer.global_step,
            device_name,
            benchmark.fingerprint(),
            tuple(first.losses),
            *_items(found, run.metrics if run.keeps_items else ()),
            mean.curve(),
        )

    return work


def _items(found: dict[str, float], owed: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, "np.ndarray"]]:
    from common.evaluation.means import Mean

    means = tuple(name for name, value in found.items() if isinstance(value, Mean))
    items = {name: found[name].items.numpy() for name in owed if name in means}
    for name, values in items.items():
        if not math.isfinite(values.sum()):
            raise UserError(f"the metric '{name}' is not finite for every unit")
    return means, items


def checking(run: Run) -> Callable[[], Findings]:
    """What asks a property's check, once it is imported.

    Raises:
        UserError: there is no such check.
    """
    module, _, name = run.check.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the check '{run.check}' cannot be imported: {error}") from None
    random.seed(run.seed)
    if "torch" in sys.modules:  # a check need not use it
        import torch
        from lightning import seed_everything

        _same_state(torch)
        seed_everything(run.seed, workers=True, verbose=False)

    def work() -> Findings:
        found = function(run.seed)
        found, shown = found if isinstance(found, tuple) else (found, {})
        if not isinstance(found, dict):
            found = {"": found}
        parts, shown = ({name: float(value) for name, value in part.items()} for part in (found, shown))
        if not parts:
            raise UserError(f"the check '{run.check}' returned no deviation")
        named = {f"deviation/{name}": value for name, value in parts.items() if name}
        metrics = {"deviation": max(parts.values(), key=abs)} | named | shown
        return Findings("property", metrics, 0, "cpu", "", (), (), {})

    return work


def _same_state(torch: Any) -> None:
    """What an earlier run of this worker may have changed."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(True)
