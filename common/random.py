"""Random numbers that belong to a sample, not to a process.

A generator advanced batch by batch hands sample 17 other numbers on two processes than on one. Here the numbers are a
function of (key, sample id, draw), so augmentation is the same for any number of processes, workers and batch layouts.
"""

import torch
from torch import Tensor

from common.errors import UserError


def _signed(value: int) -> int:
    """The int64 with the same bits as the unsigned `value`."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # torch has no unsigned int64 arithmetic: an arithmetic shift with the sign bits masked away is the logical one.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014); int64 products wrap as the algorithm wants."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def uniform(ids: Tensor, draws: int, *key: int) -> Tensor:
    """Uniform numbers in [0, 1) for every sample.

    Args:
        ids: global sample ids, integers of shape (n,).
        draws: how many numbers each sample needs.
        key: what else they depend on, such as seed, epoch and view.

    Returns:
        float32 of shape (n, draws); equal (id, draw, key) give equal numbers on every device.

    Raises:
        UserError: ids are no integers, or have another shape.
    """
    if ids.ndim != 1 or ids.is_floating_point():
        raise UserError(f"ids {tuple(ids.shape)} of {ids.dtype}: expected sample ids, integers of shape (n,)")
    state = ids.to(torch.int64)
    # Without a key, the draws of one sample would be those of its neighbour, moved up by one.
    for part in key or (_MIX_1,):
        state = _mix(state * _GOLDEN + part)
        # The finalizer maps 0 to 0: sample 0 would pass by every part of the key that is 0.
        state = state.where(state != 0, _MIX_2)
    counter = torch.arange(1, draws + 1, device=ids.device)
    bits = _mix(_mix(state[:, None] * _GOLDEN + counter * _GOLDEN))
    # The top 24 bits fill a float32 mantissa exactly, so 1.0 is never reached.
    return _shift_right(bits, 40).float() / (1 << 24)


def normal(ids: Tensor, draws: int, *key: int) -> Tensor:
    """Standard normal numbers for every sample; arguments as in `uniform`.

    Returns:
        float32 of shape (n, draws), within 5.4 standard deviations of 0.
    """
    # From the middle of each of the 2^24 steps, so that neither end is infinitely far away.
    return torch.special.ndtri(uniform(ids, draws, *key).double() + 0.5 / (1 << 24)).float()
