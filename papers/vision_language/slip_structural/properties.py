"""What is exact of the structural loss, whatever its reading, on random pairs in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.vision_language.slip_structural.module import SLIP

PAIRS, DIM = 12, 8
READINGS = {"fused": {}, "no attention": {"attention": False}, "modalities": {"reading": "modalities"}}


def built(seed: int, **arguments) -> SLIP:
    torch.manual_seed(seed)
    towers = dict(image_encoder="small_convnet", text_encoder="bag_of_words", width=8, embed_dim=DIM)
    return SLIP(**towers, **arguments).double()


def pairs(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors of pictures and captions, leaves, (12, 8) each, ids, and neighbours, (12, 3): a ring and chords."""
    generator = torch.Generator().manual_seed(seed)
    image, text = F.normalize(torch.randn(2, PAIRS, DIM, generator=generator, dtype=torch.float64), dim=-1)
    ids = 10 + torch.randperm(PAIRS, generator=generator)
    opposite = ids.roll(PAIRS // 2).where(torch.arange(PAIRS) % (PAIRS // 2) < 2, -1)
    neighbours = torch.stack([ids.roll(1), ids.roll(-1), opposite], dim=1)
    return image.requires_grad_(), text.requires_grad_(), ids, neighbours


def edgeless(seed: int) -> dict[str, float]:
    """Of each reading the loss without edges and the largest entry of its gradient.

    Raises:
        ArithmeticError: with edges they are 0 too, so the check means nothing.
    """
    image, text, ids, neighbours = pairs(seed)
    found = {}
    for name, arguments in READINGS.items():
        module = built(seed, **arguments)

        def largest(linked: Tensor, module: SLIP = module) -> float:
            loss = module.draw(image, text, ids, linked)
            slopes = torch.autograd.grad(loss, [image, text, *module.layers.parameters()])
            return max(float(loss.detach().abs()), *(float(slope.abs().max()) for slope in slopes))

        if largest(neighbours) < 1e-3:
            raise ArithmeticError("edges change nothing")
        found[name] = largest(torch.full_like(neighbours, -1))
    return found


def order(seed: int) -> dict[str, float]:
    """Of each reading how far the loss moves when the pairs of the batch come in another order.

    Raises:
        ArithmeticError: it does not move either when the links alone change their order.
    """
    image, text, ids, neighbours = pairs(seed)
    turned = torch.randperm(PAIRS, generator=torch.Generator().manual_seed(seed + 1))
    found = {}
    for name, arguments in READINGS.items():
        module = built(seed, **arguments)
        loss = module.draw(image, text, ids, neighbours).detach()
        if float((module.draw(image, text, ids, neighbours[turned]).detach() - loss).abs()) < 1e-6:
            raise ArithmeticError("the loss does not look at who is linked with whom")
        moved = module.draw(image[turned], text[turned], ids[turned], neighbours[turned]).detach()
        found[name] = float((moved - loss).abs())
    return found
