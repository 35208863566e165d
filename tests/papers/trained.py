"""Checkpoints as `papers fit` writes them, of methods that were never trained."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule


def save(path: Path, method: LightningModule, **inputs: list[int]) -> Path:
    """Writes what a checkpoint has of a method that was built by its arguments alone.

    Args:
        inputs: shapes of what it would have been trained on.
    """
    cls = type(method)
    hparams: dict[str, Any] = dict(method.hparams) | {"_class_path": f"{cls.__module__}.{cls.__qualname__}"}
    torch.save({"state_dict": method.state_dict(), "hyper_parameters": hparams, "inputs": inputs}, path)
    return path
