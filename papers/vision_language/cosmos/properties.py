"""What has a part in which term, and what the terms reduce to, checked on random vectors in float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.cosmos.module import COSMOS, Side

PAIRS, WIDTH = 10, 8
SMALL = {"image_encoder": "small_convnet", "width": 4, "text_encoder": "word_transformer", "embed_dim": WIDTH}
"""Towers of a few thousand weights."""


def drawn(seed: int, views: int, **arguments) -> tuple[COSMOS, Side, Side, Tensor, Tensor]:
    """A small module in float64, what the student makes of both sides, and what the teacher does, all leaves."""
    torch.manual_seed(seed)
    module = COSMOS(**SMALL, heads=2, **arguments).double()
    shapes = [(views, WIDTH), (6, 16), (views, WIDTH), (7, 64)]
    image, states, text, words = (torch.randn(PAIRS, *x, dtype=torch.double, requires_grad=True) for x in shapes)
    taught = F.normalize(torch.randn(2, PAIRS, min(views, 2), WIDTH, dtype=torch.double), dim=-1).requires_grad_()
    return module, Side(image, states, None), Side(text, words, None), *taught.unbind()


def small_crops(seed: int) -> float:
    """The largest gradient of CLIP's term with respect to small crops of pictures, the third view and on.

    Raises:
        ArithmeticError: another view has no gradient in it, or the crops have none in the distillation either.
    """
    module, image, text, *taught = drawn(seed, 4)
    views, captions = torch.autograd.grad(module.global_contrast(image, text, 2), [image.vectors, text.vectors])
    distilled = torch.autograd.grad(module.distill(image, text, *taught), image.vectors)[0]
    parts = (views[:, 0], views[:, 1], *captions.unbind(1), *distilled.unbind(1))
    if not all(part.any() for part in parts):
        raise ArithmeticError("a view that must have a part in a term has none")
    return float(views[:, 2:].abs().max())


def one_view(seed: int) -> dict[str, float]:
    """One view a side, attention that finds nothing, and the student as its own teacher.

    Of the four terms of the distillation the two between the sides then have CLIP's value each, and CLIP's gradient
    together; the other two are the contrast of a side with itself.
    """
    module, image, text, *_ = drawn(seed, 1)
    with torch.no_grad():
        for look in (module.look_at_text, module.look_at_image):
            look.attention.out_proj.weight.zero_()
            look.attention.out_proj.bias.zero_()
    taught = [F.normalize(side.vectors, dim=-1).detach() for side in (image, text)]
    leaves = [image.vectors, text.vectors]
    sides = [F.normalize(x[:, 0], dim=-1) for x in leaves]
    within = [symmetric_info_nce(x, x.detach(), temperature=module.distill_temperature()) for x in sides]
    between = 4 * module.distill(image, text, *taught) - torch.stack(within).sum()
    clip = symmetric_info_nce(*sides, temperature=module.distill_temperature())
    gradients = (torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (between, clip))
    return {
        "value": float((between - 2 * clip).abs().detach()),
        "gradient": max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)),
    }


def alike(seed: int) -> dict[str, float]:
    """Pictures that are all alike, against captions that the teacher tells apart, at a temperature of 0.01.

    Returns:
        By how much the term of plain distillation is below log n, which it cannot be; and by how much that with
        attention to the captions' words is above half of log n, which it need not be.
    """
    module, image, text, *_ = drawn(seed, 1, distill_temperature=0.01)
    with torch.no_grad():
        # Short ones, beside which what is found counts; plain distillation knows no length.
        same = image._replace(vectors=0.1 * image.vectors[:1].expand(PAIRS, -1, -1))
        found = F.normalize(module.look_at_text(same, text)[:, 0], dim=-1)
        options = dict(temperature=module.distill_temperature())
        plain = symmetric_info_nce(F.normalize(same.vectors[:, 0], dim=-1), found, **options)
        crossed = symmetric_info_nce(found, found, **options)
    bound = math.log(PAIRS)
    return {"plain": max(0.0, bound - float(plain)), "crossed": max(0.0, float(crossed) - bound / 2)}
