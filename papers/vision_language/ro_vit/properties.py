"""What the crop and the loss reduce to, checked on random numbers in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import focal_sigmoid, sigmoid_pairwise
from common.random import uniform
from papers.vision_language.ro_vit.positions import cropped, drawn_boxes

SIDE, UPSAMPLED, WIDTH, PICTURES, SCALE = 6, 18, 5, 12, 10.0


def boxes_of(seed: int) -> Tensor:
    """Boxes for as many pictures, (n, 4)."""
    return drawn_boxes(uniform(torch.arange(PICTURES), 4, seed).double(), 0.1, 2.0)


def units(seed: int) -> list[Tensor]:
    """Unit vectors of pictures and captions, leaves."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(PICTURES, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    return [F.normalize(x, dim=1).requires_grad_() for x in drawn]


def constant(seed: int) -> float:
    """By how much an embedding that is the same everywhere is another in a crop, at any patch."""
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = cropped(vector.expand(SIDE, SIDE, WIDTH), boxes_of(seed), UPSAMPLED)
    return float((found - vector).abs().max())


def window(seed: int) -> float:
    """How far a crop of an embedding that tells row and column is from the rows and columns of the box.

    In shares of the side, half a cell of the finer map further on, and where interpolation ends inside of the outermost
    cells, there.

    Raises:
        ArithmeticError: all boxes are the whole, so that nothing is compared.
    """
    middles = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
    left, top, right, bottom = (x[:, None] for x in boxes_of(seed).unbind(1))
    if float((right - left).min()) > 0.99:
        raise ArithmeticError("no box is a part")
    table = torch.stack(torch.meshgrid(middles, middles, indexing="ij"), dim=-1)
    found = cropped(table, boxes_of(seed), UPSAMPLED).unflatten(1, (SIDE, SIDE))
    shift, last = 0.5 / UPSAMPLED, 1 - 0.5 / SIDE
    rows, columns = ((a + (b - a) * middles + shift).clamp(1 - last, last) for a, b in ((top, bottom), (left, right)))
    expected = torch.stack([rows[:, :, None].expand_as(found[..., 0]), columns[:, None].expand_as(found[..., 1])], -1)
    return float((found - expected).abs().max())


def sigmoid(seed: int) -> float:
    """The largest difference to the sigmoid loss without a bias at gamma 0 and alpha 0.5, of value and gradient."""
    pair = units(seed)
    losses = focal_sigmoid(*pair, scale=SCALE, gamma=0.0), sigmoid_pairwise(*pair, scale=SCALE, bias=0.0)
    slopes = (torch.autograd.grad(loss, pair) for loss in losses)
    pairs = [(losses[0].detach(), losses[1].detach()), *zip(*slopes, strict=True)]
    return max(float((one - other).abs().max()) for one, other in pairs)


def both_ways(seed: int) -> float:
    """By how much the loss differs if pictures and captions change roles.

    Raises:
        ArithmeticError: they are the same, so that nothing is compared.
    """
    image, text = units(seed)
    if torch.equal(image, text):
        raise ArithmeticError("pictures and captions are one")
    return abs(float((focal_sigmoid(image, text, scale=SCALE) - focal_sigmoid(text, image, scale=SCALE)).detach()))
