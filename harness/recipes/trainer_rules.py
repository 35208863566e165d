"""What the Trainer's arguments may be: Lightning accepts some that it trips over later, or reads as something else."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from common.errors import UserError


class Rule(NamedTuple):
    right: Callable[[Any], bool]
    allowed: str


def _at_least(least: float, *others: Any) -> Rule:
    words = [f"at least {least:g}", *("null" if other is None else str(other) for other in others)]

    def right(value: Any) -> bool:
        if value in others and not isinstance(value, bool):
            return True
        return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < math.inf

    return Rule(right, " or ".join(words))


def _devices(value: Any) -> bool:
    if isinstance(value, str):
        # "2" is two devices; "2," and "0,2" are indices, as Lightning reads them.
        return value in ("auto", "-1") or (re.fullmatch(r"[1-9]\d*|\d+(,\d+)*,?", value) is not None and value != "0")
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(part, int) and part >= 0 for part in value)
    return isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or value == -1)


PRECISIONS = ("32", "32-true", "16-mixed", "bf16-mixed")


def _val_check_interval(value: Any) -> bool:
    # A share of the epoch's batches, a number of batches, or a time as "00:12:00:00" (read by Lightning).
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return 0 < value <= 1 if isinstance(value, float) else value >= 1


def _share(value: Any) -> bool:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value is None
    return value >= 0 if isinstance(value, int) else 0 <= value <= 1


SHARE = Rule(_share, "a number of batches of at least 0, a share from 0.0 to 1.0 or null")
SEED = Rule(
    lambda value: isinstance(value, bool) or (isinstance(value, int) and 0 <= value < 2**32), "from 0 to 2^32 - 1"
)
RULES: dict[str, Rule] = {
    "max_epochs": _at_least(0, -1, None),
    "min_epochs": _at_least(0, None),
    "max_steps": _at_least(0, -1),
    "min_steps": _at_least(0, None),
    "num_nodes": _at_least(1),
    "accumulate_grad_batches": _at_least(1),
    "gradient_clip_val": _at_least(0, None),
    "val_check_interval": Rule(
        _val_check_interval, "above 0 and at most 1.0, a number of batches of at least 1 or null"
    ),
    "check_val_every_n_epoch": _at_least(1, None),
    "log_every_n_steps": _at_least(1, None),
    "num_sanity_val_steps": _at_least(0, -1, None),
    "reload_dataloaders_every_n_epochs": _at_least(0),
    **{f"limit_{part}_batches": SHARE for part in ("train", "val", "test", "predict")},
    "overfit_batches": _at_least(0),
    "devices": Rule(_devices, "auto, a number of devices of at least 1 or a list of their indices, as in '0,2'"),
    # Weights in half precision would meet the data and the scoring, which are in float32.
    "precision": Rule(lambda value: str(value) in (*PRECISIONS, "None"), " or ".join(PRECISIONS)),
}


ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps", "tpu")
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_spawn",
    "ddp_fork",
    "ddp_notebook",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
    "ddp_spawn_find_unused_parameters_false",
    "ddp_spawn_find_unused_parameters_true",
    "ddp_fork_find_unused_parameters_false",
    "ddp_fork_find_unused_parameters_true",
    "ddp_notebook_find_unused_parameters_false",
    "ddp_notebook_find_unused_parameters_true",
    "deepspeed",
    "deepspeed_stage_1",
    "deepspeed_stage_2",
    "deepspeed_stage_2_offload",
    "deepspeed_stage_3",
    "deepspeed_stage_3_offload",
    "deepspeed_stage_3_offload_nvme",
    "fsdp",
    "fsdp_cpu_offload",
    "single_device",
    "single_xla",
    "xla_debug",
    "xla",
    "single_tpu",
)
"""What Lightning knows by name, so that a slip of the pen need not wait for it."""


def check_trainer(trainer: Mapping[str, Any], seed: Any = 0) -> None:
    """Checks the Trainer's arguments, as far as they are the same on every machine.

    Raises:
        UserError: names the argument, its value and what is allowed.
    """
    from lightning.pytorch.strategies import StrategyRegistry

    if not SEED.right(seed):
        raise UserError(f"seed_everything is {seed!r}; it must be {SEED.allowed}")
    for name, rule in RULES.items():
        if name in trainer and not rule.right(trainer[name]):
            raise UserError(f"trainer.{name} is {trainer[name]!r}; it must be {rule.allowed}")
    strategy, known = trainer.get("strategy"), ("auto", *StrategyRegistry.available_strategies())
    if isinstance(strategy, str) and strategy not in known:
        raise UserError(f"trainer.strategy is '{strategy}'; it must be one of {', '.join(known)}")


def check_accelerator(trainer: Mapping[str, Any]) -> None:
    """Whether this machine has what `trainer.accelerator` names.

    Raises:
        UserError: it has not; says what there is.
    """
    from lightning.pytorch.accelerators import AcceleratorRegistry

    name = trainer.get("accelerator")
    kinds = {kind: AcceleratorRegistry[kind]["accelerator"] for kind in AcceleratorRegistry}
    there = ["auto", *(kind for kind, accelerator in kinds.items() if accelerator.is_available())]
    if "cuda" in there or "mps" in there:
        there.append("gpu")
    if isinstance(name, str) and name not in there:
        raise UserError(f"trainer.accelerator is '{name}'; this machine has {', '.join(there)}")
