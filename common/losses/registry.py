"""What every loss declares about itself; the tests are generated from it.

A registered loss is compared with a plain loop in float64, run on 2 and 4 processes against one, and measured for
the bytes it keeps for the backward pass. The oracle, written as loops, is the function of the same name in the module
of tests/oracles that is named as the loss's own module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor


class Needs(StrEnum):
    """What a loss must see of the other processes.

    KEYS: each anchor meets all keys, shard by shard if need be. Takes `exchange`; tested with GATHER and RING.
    ROWS: the whole batch at once. Takes `exchange`; tested with GATHER.
    NOTHING: each anchor stands alone, and only the mean runs over all processes.
    """

    KEYS = "keys"
    ROWS = "rows"
    NOTHING = "nothing"


class Memory(StrEnum):
    """How the bytes kept for the backward pass grow with the batch. DENSE must be argued for in the docstring."""

    LINEAR = "linear"
    DENSE = "dense"


@dataclass(frozen=True)
class Example:
    """Arguments of a loss, sorted by how a test must treat them; the key is the parameter's name.

    Attributes:
        embeddings: differentiated; the first dimension is cut into shards; the last is the width.
        samples: one row a sample (ids, labels, weights): cut into the same shards, not differentiated.
        shared: the same on every process; tensors that require a gradient are differentiated.
        call: takes the loss (or its oracle) and the arguments, where one of them is a structure holding an embedding.
        gradcheck: False where the formula holds a constant, such as a detached weight, that finite differences would
            see move; the gradient is compared with the oracle's all the same.
    """

    embeddings: dict[str, Tensor]
    samples: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    call: Callable[..., Tensor] | None = None
    gradcheck: bool = True


@dataclass(frozen=True)
class LossEntry:
    """A registered loss."""

    name: str
    function: Callable[..., Tensor]
    needs: Needs
    memory: Memory
    examples: tuple[Callable[[int, int], Example], ...]


LOSSES: dict[str, LossEntry] = {}


def loss(
    *examples: Callable[[int, int], Example], needs: Needs, memory: Memory = Memory.LINEAR
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a loss under its own name.

    Args:
        examples: functions of (batch size, seed) that give float64 inputs, one for each use worth a test.
        needs: what the loss must see of the other processes.
        memory: growth of the bytes kept for the backward pass.

    Raises:
        ValueError: two losses of one name, or a loss without an example.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        if name in LOSSES or not examples:
            raise ValueError(f"loss '{name}': registered twice or without an example")
        LOSSES[name] = LossEntry(name, function, needs, memory, examples)
        return function

    return register
