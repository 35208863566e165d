"""Reading a checkpoint that somebody names: plain values alone, and one line where it is not what it should be."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.paths import checkpoint_path
from common.sampling.per_sample import PerSample


def read_checkpoint(checkpoint: str | Path, name: str) -> dict[str, Any]:
    """What a Lightning checkpoint holds, on the CPU. Nothing in it is executed.

    Args:
        checkpoint: path of the file.
        name: the option or argument that named it, as in "--ckpt_path" or "model.start".

    Raises:
        UserError: there is no such file, it is damaged or holds more than plain values, it has no weights, or some of
            them are NaN.
    """
    path = checkpoint_path(checkpoint, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global:?) (\S+)", str(error))
        held = f"holds more than plain values ({found[1]})" if found else "is no checkpoint"
        raise UserError(f"{name}: {path} {held}, so it is not loaded") from None
    except Exception as error:  # torch names the damage in many ways
        raise UserError(f"{name}: {path} is no checkpoint, or damaged: {_first_line(error)}") from None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise UserError(f"{name}: {path} holds no weights ('state_dict'); it must be a checkpoint of `papers fit`")
    for key, tensor in weights.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise UserError(f"{name}: {path} is of a training that diverged: {key} has NaN in it")
    return content


def check_weights(weights: Mapping[str, Any], path: Path, module: nn.Module, name: str, differing: str = "") -> None:
    """Whether the weights are those of `module`, each of them and in its shape.

    What is kept for each training sample may have any number of rows: how many there are, the data say.

    Args:
        path: the file that holds them.
        name: the option or argument that named it.
        differing: the arguments that differ from what they were trained with, in words.

    Raises:
        UserError: names the first that is not.
    """
    wanted = module.state_dict()
    rows = {
        f"{part}.{key}"
        for part, one in module.named_modules()
        if isinstance(one, PerSample)
        for key in one.state_dict()
    }
    faults = [f"lacks {key}" for key in wanted if key not in weights]
    faults += [f"has {key}, which it does not have" for key in weights if key not in wanted]
    for key in wanted.keys() & weights.keys():
        if isinstance(wanted[key], Tensor) and not isinstance(weights[key], Tensor):
            faults.append(f"has no tensor for {key}")
        elif isinstance(wanted[key], Tensor) and (there := _shape(weights, key, rows)) != _shape(wanted, key, rows):
            faults.append(f"has {key} of shape {there} for {_shape(wanted, key, rows)}")
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        why = f"; it was trained with {differing}" if differing else ""
        raise UserError(f"{name}: {path} does not fit {type(module).__name__}: it {faults[0]}{more}{why}")


def _shape(weights: Mapping[str, Any], key: str, rows: set[str]) -> tuple[int, ...]:
    """Of one row, where there may be any number of them."""
    shape = tuple(weights[key].shape)
    return shape[1:] if key in rows else shape


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
