"""Embeddings of positions: of a box out of a larger picture, and such as nothing is learnt of."""

import math

import torch
from torch import Tensor

from common.encoders.regions import between, resized


def cropped(positions: Tensor, boxes: Tensor, upsampled: int) -> Tensor:
    """Cropped positional embedding: what an embedding is at the middles of a grid over each box.

    Args:
        positions: (side, side, d).
        boxes: left, top, right, bottom as shares of the side, (n, 4).
        upsampled: cells along a side to which the embedding is interpolated before it is read.

    Returns:
        (n, side^2, d), row by row.

    Source: fvlm/rovit/cropped_positional_embedding.py of the authors' repository.
    """
    side = len(positions)
    finer = resized(side, upsampled, positions)
    middles = (torch.arange(side, dtype=positions.dtype, device=positions.device) + 0.5) / side

    def read(start: Tensor, stop: Tensor) -> Tensor:
        # As released, a cell is where it begins and not in its middle: all is read half a cell further on.
        return between((start[:, None] + (stop - start)[:, None] * middles) * upsampled, upsampled) @ finer

    left, top, right, bottom = boxes.to(positions).unbind(1)
    return torch.einsum("nih,njw,hwd->nijd", read(top, bottom), read(left, right), positions).flatten(1, 2)


def drawn_boxes(u: Tensor, area: float, aspect: float) -> Tensor:
    """Boxes as torchvision's RandomResizedCrop draws them, cut down to the square where they stick out, (n, 4).

    Args:
        u: numbers in [0, 1), (n, 4).
        area: smallest share of the square; all shares up to 1 are as likely.
        aspect: the logarithm of the ratio of width to height is uniform between that of 1 / aspect and of aspect.
    """
    scale, stretch = (area + (1 - area) * u[:, 0]).sqrt(), (math.log(aspect) * (u[:, 1] - 0.5)).exp()
    size = torch.stack([scale * stretch, scale / stretch], dim=1).clamp(max=1)
    start = u[:, 2:] * (1 - size)
    return torch.cat([start, start + size], dim=1)


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of a patch's row and column, (side^2, width), as in ViT without learnt positions (MoCo v3)."""
    rates = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.cartesian_prod(torch.arange(side), torch.arange(side))[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
