"""The random state of torch, taken once and replayed: dropout and augmentation draw the same numbers again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class RandomState(NamedTuple):
    """The state of the CPU's generator and, where the work runs elsewhere, of that device's."""

    cpu: Tensor
    device: Tensor | None
    device_type: str


def capture(device: torch.device) -> RandomState:
    """The random state as it is now; costs a copy of a few kilobytes.

    Args:
        device: where the random numbers will be drawn. Of several devices of its type the current one is meant, which
            Lightning sets to the process's own.
    """
    state = None if device.type == "cpu" else torch.get_device_module(device.type).get_rng_state()
    return RandomState(torch.get_rng_state(), state, device.type)


def restore(state: RandomState) -> None:
    """Goes on drawing what was drawn after `state` was captured."""
    torch.set_rng_state(state.cpu)
    if state.device is not None:
        torch.get_device_module(state.device_type).set_rng_state(state.device)


@contextmanager
def replay(state: RandomState) -> Iterator[None]:
    """Draws within the block what was drawn after `state` was captured; afterwards the stream goes on undisturbed.

    Two passes with one dropout mask, as SimCSE's ablation needs them::

        state = capture(self.device)
        query = self.encoder(texts)
        with replay(state):
            key = self.encoder(texts)
    """
    before = capture(torch.device(state.device_type))
    restore(state)
    try:
        yield
    finally:
        restore(before)
