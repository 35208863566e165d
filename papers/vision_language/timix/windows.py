"""Square windows of a picture by how much they show, and one picture's pasted over another's."""

import torch
from torch import Tensor
from torch.nn import functional as F


def inside(boxes: Tensor, cells: int) -> Tensor:
    """Which cells of a grid have their middle in one of the boxes, as 0 and 1.

    Args:
        boxes: (n, k, 4): left, top, right and bottom as shares of the side; one without an area holds nothing.
        cells: along a side.

    Returns:
        Floats of shape (n, cells, cells), rows from the top.
    """
    middle = (torch.arange(cells, device=boxes.device) + 0.5) / cells
    left, top, right, bottom = boxes[..., None].unbind(2)
    across, down = (left <= middle) & (middle < right), (top <= middle) & (middle < bottom)
    return (down[..., :, None] & across[..., None, :]).any(dim=1).to(boxes.dtype)


def window_sums(saliency: Tensor, side: int) -> Tensor:
    """The sum over each window of side x side cells, row by row, (n, w), of a saliency (n, cells, cells)."""
    return F.avg_pool2d(saliency[:, None], side, stride=1).flatten(1) * side**2


def pasted(pixels: Tensor, source: Tensor, to: Tensor, of: Tensor, side: int, cells: int) -> Tensor:
    """Pictures with one window overwritten by one of others.

    Args:
        pixels, source: (n, c, h, w), square, in a whole number of pixels a cell.
        to, of: which window is overwritten and which is taken, numbers (n,) in the order of `window_sums`.
        side: of the windows, in cells.
        cells: along a picture's side.
    """
    size, count = pixels.shape[-1], cells - side + 1
    unit = size // cells
    (down, across), (from_down, from_across) = ((unit * (x // count), unit * (x % count)) for x in (to, of))
    place = torch.arange(size, device=pixels.device)
    rows, columns = ((place >= corner[:, None]) & (place < corner[:, None] + side * unit) for corner in (down, across))
    # Each place of the window reads the source as far from that window's corner; the others read anything.
    row, column = (
        (place + (there - here)[:, None]).clamp(0, size - 1)
        for here, there in ((down, from_down), (across, from_across))
    )
    index = (row[:, :, None] * size + column[:, None, :]).flatten(1)[:, None].expand(-1, pixels.shape[1], -1)
    taken = source.flatten(2).gather(2, index).view_as(pixels)
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], taken, pixels)
