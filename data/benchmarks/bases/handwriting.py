"""Handwriting from the middle lines of strokes: each line moved and bent, then drawn by a brush on a small canvas.

All numbers are given by the caller, who draws them by sample; a drawing belongs to its sample and is stored as bytes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PER_STROKE, PER_CHARACTER = 9, 6
"""Numbers that `written` takes for each stroke and for the character as a whole."""
_STRETCH, _PLACE, _BEND = 0.12, 0.08, 0.05
"""Standard deviations for a stroke: of its length, of its place and of its points, where the square reaches to 1."""
_TURN, _SLANT, _SIZE, _SHIFT = 0.15, 0.2, 0.12, 0.08
"""For the whole: of the angle in radians, of the shear, of width and height, and of its place."""


def resampled(line: np.ndarray, points: int) -> np.ndarray:
    """As many points at equal distances along a line of shape (m, 2); its ends stay."""
    walked = np.append(0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum())
    at = np.linspace(0, walked[-1], points)
    return np.stack([np.interp(at, walked, line[:, axis]) for axis in (0, 1)], axis=1)


def stroke_table(characters: Sequence[Sequence[np.ndarray]], points: int) -> tuple[Tensor, Tensor]:
    """Characters of various strokes in one tensor.

    Returns:
        Lines, float32 of shape (n, most strokes, points, 2), 0 where a character has no more; strokes of each, (n,).
    """
    counts = torch.tensor([len(strokes) for strokes in characters])
    lines = torch.zeros(len(characters), int(counts.max()), points, 2)
    for row, strokes in enumerate(characters):
        lines[row, : len(strokes)] = torch.from_numpy(np.stack([resampled(line, points) for line in strokes]))
    return lines, counts


def written(lines: Tensor, z: Tensor, jitter: float = 1.0) -> Tensor:
    """Characters as a hand might write them: strokes of another length, place and bend, the whole turned and slanted.

    Args:
        lines: shape (n, strokes, points, 2), in a square from -1 to 1.
        z: standard normal numbers, shape (n, strokes * 9 + 6).
        jitter: 1 is a hasty hand; 0 leaves the lines as they are.

    Returns:
        The same shape.
    """
    strokes, points = lines.shape[1:3]
    of_stroke, of_whole = (jitter * z).split([strokes * PER_STROKE, PER_CHARACTER], dim=1)
    stretch, place, bend = of_stroke.unflatten(1, (strokes, PER_STROKE)).split([1, 2, 6], dim=2)
    # Three pulls along a stroke, at its ends and in its middle; its other points lie between.
    pulls = F.interpolate(bend.reshape(-1, 2, 3), size=points, mode="linear", align_corners=True)
    middle = lines.mean(dim=2, keepdim=True)
    lines = middle + (lines - middle) * (1 + _STRETCH * stretch[:, :, None])
    lines = lines + _PLACE * place[:, :, None] + _BEND * pulls.mT.reshape(lines.shape)
    turn, slant, wide, high, shift = of_whole.split([1, 1, 1, 1, 2], dim=1)
    cos, sin = (_TURN * turn).cos(), (_TURN * turn).sin()
    across = torch.cat([cos * (1 + _SIZE * wide), _SLANT * slant - sin], dim=1)
    down = torch.cat([sin, cos * (1 + _SIZE * high)], dim=1)
    return torch.einsum("nij,nspj->nspi", torch.stack([across, down], dim=1), lines) + _SHIFT * shift[:, None, None]


def brushed(lines: Tensor, counts: Tensor, width: Tensor, side: int) -> Tensor:
    """What a round brush leaves of lines: 1 within its width, falling to 0 over one more pixel.

    Args:
        lines: in pixels, the middle of the first one being 0, shape (n, strokes, points, 2).
        counts: strokes of each character, the first ones, shape (n,).
        width: of the brush to either side of the line, in pixels, shape (n,).
        side: of the canvas.

    Returns:
        Shape (n, 1, side, side).
    """
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=lines.dtype)] * 2, indexing="ij")
    x, y = columns.flatten(), rows.flatten()
    nearest = torch.full((len(lines), side * side), torch.inf, dtype=lines.dtype)
    for stroke in range(lines.shape[1]):
        there = (stroke < counts).nonzero().flatten()
        if not len(there):
            continue
        # Some strokes are in all characters: their rows need no copy.
        some = slice(None) if len(there) == len(lines) else there
        best = nearest[some]
        for start, end in zip(lines[some, stroke, :-1].unbind(1), lines[some, stroke, 1:].unbind(1), strict=True):
            along = end - start
            dx, dy = x - start[:, :1], y - start[:, 1:]
            share = (dx * along[:, :1] + dy * along[:, 1:]) / along.square().sum(dim=1, keepdim=True).clamp(min=1e-6)
            share = share.clamp_(0, 1)
            dx, dy = dx - share * along[:, :1], dy - share * along[:, 1:]
            best = torch.minimum(best, dx.square_() + dy.square_())
        nearest[some] = best
    ink = (width[:, None] + 0.5 - nearest.sqrt_()).clamp_(0, 1)
    return ink.view(-1, 1, side, side)
