"""Where a program waits for a number that a device has, counted on a CPU."""

import traceback
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

ROOT = str(Path(__file__).parents[1])
WAITS = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "bincount", "is_nonzero")


class Reads(TorchDispatchMode):
    """Where the program waits for a number of a tensor, or for how many there are; checks of arguments aside.

    Those are made of tensors on a CPU alone, and so are those of `one_hot`. Nor is counted what an optimizer asks of
    its own numbers, which lie on the CPU unless it is fused, nor a backward pass, which waits where the forward one
    did, nor what a test or the trainer asks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(function) for word in WAITS) or _by_mask(function, args):
            frames = traceback.extract_stack()
            # Of what lies below this one the last is nearest to the operation. A virtual environment may stand inside.
            own = [frame for frame in frames if ROOT in frame.filename and "site-packages" not in frame.filename]
            ours = [f"{frame.filename.removeprefix(ROOT)[1:]}: {frame.line}" for frame in own]
            checks = any(frame.name.startswith(("check_", "_check_")) for frame in frames)
            place = ours[-2]
            if not (checks or ".optimizer_step(" in place or "one_hot(" in place or place.startswith("tests/")):
                self.places.append(place)
        return function(*args, **(kwargs or {}))


def _by_mask(function: Any, args: Any) -> bool:
    """Whether it takes the elements where a mask is true, of which there are as many as the data say."""
    if not str(function).startswith(("aten.index.Tensor", "aten.index_put")):
        return False
    return any(x is not None and not x.is_floating_point() and x.element_size() == 1 for x in args[1])
