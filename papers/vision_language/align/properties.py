"""What follows from smoothed labels and one temperature by themselves, checked in float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.align.module import ALIGN

PAIRS = 12


def align(smoothing: float, temperature: float = 0.1) -> ALIGN:
    towers = dict(image_encoder="small_convnet", width=8, text_encoder="bag_of_words", embed_dim=PAIRS)
    module = ALIGN(**towers, temperature=temperature, smoothing=smoothing).double()
    with torch.no_grad():
        module.temperature.log_temperature.fill_(math.log(temperature))  # what it starts at is rounded to float32
    return module


def pairs(seed: int) -> list[Tensor]:
    """Unit vectors of pictures and of their captions, which resemble them; leaves."""
    draw = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(2, PAIRS, PAIRS, generator=draw, dtype=torch.float64)
    return [F.normalize(x, dim=1).requires_grad_() for x in (image, image + noise)]


def gradient(loss: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat(torch.autograd.grad(loss, leaves))


def twice_clip(seed: int) -> dict[str, float]:
    """How far the loss without smoothing, and its gradient, are from twice those of CLIP at the same temperature."""
    leaves, module = pairs(seed), align(smoothing=0.0)
    ours, clip = module.contrast(*leaves), symmetric_info_nce(*leaves, temperature=module.temperature())
    deviation = (gradient(ours, leaves) - 2 * gradient(clip, leaves)).abs().max()
    return {"value": abs(float((ours - 2 * clip).detach())), "gradient": float(deviation)}


def entropy(smoothing: float, n: int) -> float:
    """Of a target that gives the own pair 1 - e + e / n and each other one e / n, in nats."""
    own, other = 1 - smoothing + smoothing / n, smoothing / n
    return -own * math.log(own) - (n - 1) * other * math.log(other)


def best_temperature(smoothing: float, n: int) -> float:
    """At which pairs that agree, with all others at right angles, have the target for their softmax."""
    return 1 / math.log((1 - smoothing + smoothing / n) / (smoothing / n))


def least(seed: int) -> dict[str, float]:
    """By how much the loss is below twice the entropy of the smoothed target, and how far it is from that, and from a
    slope of 0 in the temperature, where each pair agrees, the others are at right angles and t is the best.

    Raises:
        ArithmeticError: a temperature of a tenth of that is no worse, so that nothing was bounded.
    """
    smoothing = float(torch.rand((), generator=torch.Generator().manual_seed(seed)).double() * 0.3 + 0.02)
    least, t = 2 * entropy(smoothing, PAIRS), best_temperature(smoothing, PAIRS)
    draw = torch.Generator().manual_seed(seed)
    easy = torch.linalg.qr(torch.randn(PAIRS, PAIRS, generator=draw, dtype=torch.float64)).Q
    best, sharper = align(smoothing, t), align(smoothing, t / 10)
    value = best.contrast(easy, easy)
    (slope,) = torch.autograd.grad(value, list(best.temperature.parameters()))
    if float(sharper.contrast(easy, easy).detach()) < 1.5 * least:
        raise ArithmeticError("a sharper temperature costs nothing")
    drawn = align(smoothing).contrast(*pairs(seed))
    return {
        "below": max(0.0, least - float(drawn.detach())),
        "easy": abs(float(value.detach()) - least),
        "slope": abs(float(slope)),
    }
