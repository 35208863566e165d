"""Values and gradients of the authors' own functions, recorded once on inputs that anybody can draw again.

One JSON file a repository: `source` says where the function stands and at which commit; each case holds what was called
(`recording`), how its inputs are drawn, the value, and a summary of the gradient of every drawn array.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
_ENTRIES = 4  # of each gradient, kept word for word: enough to see a permuted or transposed one
_PROBE_SEED = 20230


@dataclass(frozen=True)
class Case:
    """One recorded call.

    Attributes:
        name: "<file>/<case>".
        seed: of numpy.random.RandomState, whose stream NumPy keeps as it is for good.
        draws: for each array its shape, drawn as a standard normal in this order, then divided by its norm along the
            last dimension if `unit`, then multiplied by `times`.
        given: integer and boolean inputs, word for word.
        arguments: plain numbers of the call.
        value, gradients: what the function gave; gradients as `summary` gives them.
        precision: of the recorded function, "float64" or "float32"; "float32 on both sides" where ours is computed in
            it too, and rounding is part of what is compared.
    """

    name: str
    recording: str
    seed: int
    draws: dict[str, dict[str, Any]]
    given: dict[str, Any]
    arguments: dict[str, float]
    value: float
    gradients: dict[str, dict[str, Any]]
    precision: str = "float64"

    def inputs(self) -> dict[str, Tensor]:
        """The drawn arrays in float64, ready to be differentiated."""
        stream = np.random.RandomState(self.seed)
        arrays = {}
        for name, draw in self.draws.items():
            array = stream.standard_normal(draw["shape"])
            if draw.get("unit"):
                array /= np.linalg.norm(array, axis=-1, keepdims=True)
            arrays[name] = torch.tensor(array * draw.get("times", 1.0), requires_grad=True)
        return arrays

    def constants(self) -> dict[str, Tensor]:
        return {name: torch.tensor(values) for name, values in self.given.items()}


def summary(gradient: Tensor) -> dict[str, Any]:
    """Norm, inner product with a fixed random array, and the first entries."""
    flat = gradient.detach().double().flatten()
    probe = torch.tensor(np.random.RandomState(_PROBE_SEED).standard_normal(len(flat)))
    return {
        "norm": float(flat.norm()),
        "probe": float(flat @ probe),
        "first": flat[:_ENTRIES].tolist(),
    }


def load() -> list[Case]:
    """Every recorded case."""
    return [
        Case(**{**case, "name": f"{path.stem}/{case['name']}"})
        for path in sorted(FOLDER.glob("*.json"))
        for case in json.loads(path.read_text())["cases"]
    ]
