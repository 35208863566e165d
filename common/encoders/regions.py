"""Parts of a map of features: numbers between its cells, and means over boxes."""

import torch
from torch import Tensor


def between(places: Tensor, cells: int) -> Tensor:
    """The weights of linear interpolation along one side of a map.

    Args:
        places: where to read, in steps of a cell from the middle of the first; beyond an end it is that end's cell that
            is read. Floats of any shape.
        cells: along the side.

    Returns:
        (..., cells), rows that sum to 1.
    """
    inside = places.clamp(0, cells - 1)[..., None]
    return (1 - (inside - torch.arange(cells, device=places.device)).abs()).clamp(min=0)


def resized(cells: int, size: int, like: Tensor) -> Tensor:
    """The weights that bring a side of so many cells to another number of them, both over the same length, linearly.

    Args:
        cells: along the side.
        size: what they become, at least as many, as nothing is averaged.
        like: of its dtype and on its device.

    Returns:
        (size, cells).
    """
    middles = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
    return between(middles * (cells / size) - 0.5, cells)


def mean_in_boxes(features: Tensor, boxes: Tensor, rows: Tensor) -> Tensor:
    """The mean of a map over each box, cells counting by how much of them is inside.

    Args:
        features: (n, h, w, d).
        boxes: left, top, right, bottom as shares of the sides, in [0, 1], floats of shape (b, 4).
        rows: the map of each box, (b,).

    Returns:
        (b, d).
    """
    height, width = features.shape[1:3]
    left, top, right, bottom = boxes.to(features).unbind(1)
    down, across = _covered(top, bottom, height), _covered(left, right, width)
    return torch.einsum("bhwd,bh,bw->bd", features[rows], down, across)


def _covered(start: Tensor, stop: Tensor, cells: int) -> Tensor:
    """Which share of each interval is in each cell, (b, cells)."""
    edges = torch.arange(cells + 1, dtype=start.dtype, device=start.device) / cells
    inside = torch.minimum(stop[:, None], edges[1:]) - torch.maximum(start[:, None], edges[:-1])
    return inside.clamp(min=0) / (stop - start)[:, None]
