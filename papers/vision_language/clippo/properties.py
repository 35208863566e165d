"""What one tower for pictures and texts comes to, checked in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.vision_language.clippo.module import CLIPPO

TEXTS = ["a small owl", "a large red ring", "a small fox and a large owl", "a white star"]
TURNED = ["a large owl and a small fox", "a small tent and a large cow"]


def towers(count: int, seed: int = 0) -> CLIPPO:
    torch.manual_seed(seed)
    made = CLIPPO(image_encoder="small_convnet", width=4, embed_dim=8, text_width=40, temperature=0.5, towers=count)
    return made.double()


def loss(module: CLIPPO, pixels: Tensor) -> Tensor:
    """Of four pictures with captions, and two sentences in other words."""
    first = torch.cat([module.encoder.images(pixels), module.read(TEXTS[2:])])
    return module.contrast(first, module.read(TEXTS + TURNED))


def tied(seed: int) -> float:
    """The largest difference between the gradient of one tower and the sum of those of two that weigh the same.

    Raises:
        ArithmeticError: one of the two has no gradient, so the check means nothing.
    """
    pixels = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    one, two = towers(1, seed), towers(2, seed)
    shared = [*one.encoder.image.parameters(), *one.encoder.projection.parameters()]
    apart = [*two.encoder.image.parameters(), *two.encoder.projection.parameters(), *two.encoder.text.parameters()]
    together = torch.autograd.grad(loss(one, pixels), shared)
    slopes = torch.autograd.grad(loss(two, pixels), apart)
    seen, read = slopes[: len(shared)], slopes[len(shared) :]
    if any(not slope.any() for slope in (seen[0], read[0])):
        raise ArithmeticError("a tower has no gradient")
    return max(float((a - b - c).abs().max()) for a, b, c in zip(together, seen, read, strict=True))


def swap(seed: int) -> float:
    """By how much the loss or its gradient changes if all pairs change sides."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    first, second = (side.requires_grad_() for side in F.normalize(drawn, dim=-1).unbind())
    module = towers(1)
    found = []
    for pair in ((first, second), (second, first)):
        value = module.contrast(*pair)
        found.append([value.detach(), *torch.autograd.grad(value, [first, second])])
    return max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))


def half(seed: int) -> int:
    """Parameters of one tower beyond half of two's, the temperature left out."""
    one, two = (sum(p.numel() for p in towers(count, seed).parameters()) - 1 for count in (1, 2))
    return abs(2 * one - two)
