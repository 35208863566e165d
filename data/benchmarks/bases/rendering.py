"""Cut-outs at a place, size and angle of their own before smooth noise: small pictures with something to find.

All numbers are given by the caller, who draws them by sample; a rendering belongs to its sample and is stored as bytes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

POSE_DRAWS = 5
"""Numbers that `posed` takes for each sample."""

PER_CLASS, PER_SPLIT = 1_000_000, 100_000
"""Ids of a class whose pictures are all rendered, and of these of a split."""
_SPLITS = ("val", "gallery", "test", "train")


def renderings(numbers: Tensor, sizes: list[int], split: str) -> tuple[Tensor, Tensor]:
    """Class and id of each rendering of a split; no two of a benchmark have the same id, whatever its switches.

    Args:
        numbers: of each class in its source, shape (classes,).
        sizes: renderings of each class.
        split: "train", "val", "gallery" or "test".

    Returns:
        Positions of the classes, and ids, both int64 of shape (sum of sizes,).
    """
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    within = torch.cat([torch.arange(size) for size in sizes])
    return labels, numbers[labels] * PER_CLASS + PER_SPLIT * _SPLITS.index(split) + within


def posed(layers: Tensor, u: Tensor, *, scale: tuple[float, float], degrees: float, mirror: float = 0.0) -> Tensor:
    """Shrinks, turns, mirrors and moves each picture; its square stays on the canvas but for the turned corners.

    Args:
        layers: such as colours and opacity, floats of shape (n, c, side, side).
        u: numbers in [0, 1), shape (n, 5).
        scale: least and largest side as a share of the canvas.
        degrees: largest turn, either way.
        mirror: the share that is mirrored.

    Returns:
        The same shape; 0 outside of the picture.
    """
    size, turn, right, down, side = u.unbind(1)
    factor = scale[0] + (scale[1] - scale[0]) * size
    angle = (2 * turn - 1) * math.radians(degrees)
    x, y = ((2 * at - 1) * (1 - factor) for at in (right, down))
    cos, sin = angle.cos() / factor, angle.sin() / factor
    flip = torch.where(side < mirror, -1.0, 1.0)
    # Rows of the map from the canvas to the picture, both in [-1, 1].
    across = torch.stack([cos, -sin, sin * y - cos * x], dim=1) * flip[:, None]
    downward = torch.stack([sin, cos, -sin * x - cos * y], dim=1)
    grid = F.affine_grid(torch.stack([across, downward], dim=1), list(layers.shape), align_corners=False)
    return F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def bumps(u: Tensor, cells: int, side: int) -> Tensor:
    """Smooth noise in [-0.5, 0.5], shape (n, c, side, side), of `cells` x `cells` values.

    Args:
        u: numbers in [0, 1), shape (n, c * cells * cells).
    """
    grid = u.reshape(len(u), -1, cells, cells) - 0.5
    return F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)


def to_bytes(pixels: Tensor) -> Tensor:
    """Floats, clipped to [0, 1], as uint8."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


def luma(pixels: Tensor) -> Tensor:
    """Pictures without their colour: uint8 of shape (n, 3, h, w) to (n, 1, h, w), in whole numbers throughout."""
    weights = torch.tensor([299, 587, 114], dtype=torch.int32)[:, None, None]
    # Some at a time: as int32 they take four times the room.
    parts = [(part.to(torch.int32) * weights).sum(dim=1, keepdim=True) for part in pixels.split(1000)]
    return ((torch.cat(parts) + 500) // 1000).to(torch.uint8)
