"""What the objective reduces to, checked on random features in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.vision_language.clip_rocket.module import CLIPRocket, Sides

SMALL = {"image_encoder": "small_convnet", "width": 4, "text_encoder": "bag_of_words", "embed_dim": 6, "hidden_dim": 8}
"""Towers of a few thousand weights."""


def made(seed: int, views: int, **arguments) -> tuple[CLIPRocket, list[Sides]]:
    """A small module in float64, and features of twelve pairs in so many views, leaves."""
    torch.manual_seed(seed)
    module = CLIPRocket(**SMALL, **arguments).double().train()
    widths = module.encoder.image.output_dim, module.encoder.text.last.in_features
    draws = [[torch.randn(12, width, dtype=torch.double, requires_grad=True) for width in widths] for _ in range(views)]
    return module, [(image, text) for image, text in draws]


def alike(seed: int) -> float:
    """The largest difference of value and gradient from CLIP's, where all views are the same and share their heads.

    Raises:
        ArithmeticError: CLIP's gradient is 0, so that nothing is compared.
    """
    module, (view,) = made(seed, 1, heads="shared", local_smoothing=0.0)
    image, text = (F.normalize(head(x), dim=1) for head, x in zip(module.linear, view, strict=True))
    clip, rocket = module.contrast(image, text), module.views_contrast(view, [view] * 3)
    expected, found = (torch.cat(torch.autograd.grad(loss, view, retain_graph=True), dim=1) for loss in (clip, rocket))
    if not expected.any():
        raise ArithmeticError("the gradient of CLIP's loss is 0 everywhere")
    return max(float((clip - rocket).abs().detach()), float((expected - found).abs().max()))


def no_partner(seed: int) -> float:
    """The largest change of value and gradient if the strong captions change places among the views.

    Raises:
        ArithmeticError: a strong caption has no gradient, so that it was not in the loss.
    """
    module, (weak, *strong) = made(seed, 4, siamlip=1.0)
    turned = [(image, text) for (image, _), (_, text) in zip(strong, strong[1:] + strong[:1], strict=True)]

    def value(views: list[Sides]) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = module.views_contrast(weak, views) + module.siamese(weak, views)
        return loss.detach(), torch.autograd.grad(loss, [x for view in (weak, *strong) for x in view])

    (loss, slopes), (other, others) = value(strong), value(turned)
    if not all(slope.any() for slope in slopes):
        raise ArithmeticError("a view has no part in the loss")
    return max(float((loss - other).abs()), *(float((a - b).abs().max()) for a, b in zip(slopes, others, strict=True)))
