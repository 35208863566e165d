"""What follows from CWCL's weights, checked on random vectors in float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.cwcl.module import CWCL

PICTURES, WIDTH = 12, 16


def method(temperature: float = 0.2) -> CWCL:
    """Without the frozen tower of the laptop recipe, which none of these asks for anything."""
    options = dict(image_encoder="small_convnet", text_encoder="bag_of_words", width=4, embed_dim=8)
    return CWCL(locked=None, temperature=temperature, **options).double()


def drawn(seed: int, n: int = PICTURES) -> list[Tensor]:
    """Unit vectors of pictures and captions, which are leaves, and what a frozen tower makes of the pictures."""
    generator = torch.Generator().manual_seed(seed)
    image, text, seen = torch.randn(3, n, WIDTH, generator=generator, dtype=torch.float64)
    return [*(F.normalize(x, dim=1).requires_grad_() for x in (image, text)), seen]


def weights(seen: Tensor) -> Tensor:
    """w_ij, divided by the sums of rows."""
    w = F.cosine_similarity(seen[:, None], seen[None], dim=-1) / 2 + 0.5
    return w / w.sum(1, keepdim=True)


def opposites(seed: int) -> float:
    """The largest difference to InfoNCE where w_ij is 0 for all others: two pictures seen as opposites."""
    image, text, seen = drawn(seed, 2)
    module = method()
    ours = module.contrast(image, text, torch.stack([seen[0], -seen[0]]))
    plain = symmetric_info_nce(image, text, temperature=module.temperature(), directions="sum")
    gradients = (torch.autograd.grad(loss, [image, text], retain_graph=True) for loss in (ours, plain))
    return max(float((a - b).abs().max()) for a, b in [(ours.detach(), plain.detach()), *zip(*gradients, strict=True)])


def optimum(seed: int) -> dict[str, float]:
    """The gradient at logits log w of the way to captions, and by how much a caption stands above another by cosines.

    "excess": over log 2, for cosines that are not negative, at that optimum.
    """
    _, _, seen = drawn(seed)
    seen = seen.abs()
    target = weights(seen)
    # Logits of any values are scores of vectors with as many entries as there are pictures.
    logits = target.log().requires_grad_()
    module = method(1.0)
    eye = torch.eye(PICTURES, dtype=torch.float64)
    with torch.no_grad():
        module.temperature.log_temperature.fill_(0.0)
    both = module.contrast(logits, eye, seen)
    plain = symmetric_info_nce(logits, eye, temperature=1.0, directions="sum")
    # What InfoNCE has from pictures to captions, p - 1 at the own one, is known; the other direction cancels.
    (difference,) = torch.autograd.grad(both - plain, logits)
    (own,) = torch.autograd.grad(F.cross_entropy(logits, torch.arange(PICTURES)), logits)
    above = target.diagonal()[:, None].log() - target.log()
    return {
        "gradient": float((difference + own).abs().max()),
        "excess": max(0.0, float(above.max()) - math.log(2)),
    }


def alike(seed: int) -> float:
    """How far the way to captions is from a uniform target where the frozen tower sees no difference."""
    image, text, _ = drawn(seed)
    module = method()
    with torch.no_grad():
        found = module.contrast(image, text, torch.ones_like(image))
        logits = image @ text.T / module.temperature()
        to_captions = (logits.logsumexp(1) - logits.mean(1)).mean()
        to_pictures = (logits.logsumexp(0) - logits.diagonal()).mean()
    return abs(float(found - to_captions - to_pictures))
