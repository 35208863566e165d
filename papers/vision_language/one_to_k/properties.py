"""What 1-to-K promises whatever the vectors are, checked on random ones in float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.one_to_k.module import one_to_k

TEMPERATURE = 0.07
PICTURES, LANGUAGES, WIDTH = 12, 4, 16


def drawn(seed: int, languages: int = LANGUAGES) -> list[Tensor]:
    """Unit vectors of pictures, (n, e), and of captions that resemble them, (n, K, e); leaves."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(PICTURES, WIDTH, generator=generator, dtype=torch.float64)
    noise = torch.randn(PICTURES, languages, WIDTH, generator=generator, dtype=torch.float64)
    return [F.normalize(x, dim=-1).requires_grad_() for x in (image, image[:, None] + noise)]


def one_language(seed: int) -> float:
    """The largest difference to CLIP's loss with one language, of value and gradient."""
    image, text = drawn(seed, 1)
    ours = one_to_k(image, text, temperature=TEMPERATURE)
    clip = symmetric_info_nce(image, text[:, 0], temperature=TEMPERATURE)
    gradients = (torch.autograd.grad(loss, [image, text], retain_graph=True) for loss in (ours, clip))
    return max(float((a - b).abs().max()) for a, b in [(ours.detach(), clip.detach()), *zip(*gradients, strict=True)])


def order(seed: int) -> float:
    """By how much the loss changes if each picture's captions change places, each in its own way."""
    image, text = drawn(seed)
    places = torch.rand(PICTURES, LANGUAGES, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    turned = text.gather(1, places[..., None].expand_as(text))
    losses = [one_to_k(image, given, temperature=TEMPERATURE) for given in (text, turned)]
    return abs(float((losses[0] - losses[1]).detach()))


def least(seed: int) -> dict[str, float]:
    """By how much the loss is below half of log K, and how far from it where all K captions are their picture."""
    bound = math.log(LANGUAGES) / 2
    with torch.no_grad():
        image, text = drawn(seed)
        found = one_to_k(image, text, temperature=TEMPERATURE)
        apart = torch.linalg.qr(image.T).Q.T  # at right angles
        alike = one_to_k(apart, apart[:, None].expand(-1, LANGUAGES, -1), temperature=0.02)
    return {"below": max(0.0, bound - float(found)), "alike": abs(float(alike) - bound)}


def separate(seed: int) -> dict[str, float]:
    """How far what 1-to-K adds to CLIP's mean loss over the languages is from what the ways to captions differ by.

    That is half of log sum over all captions, less the mean over the languages of log sum over the captions of one; and
    by how much it is below half of log K.
    """
    with torch.no_grad():
        image, text = drawn(seed)
        mean = torch.stack([symmetric_info_nce(image, one, temperature=TEMPERATURE) for one in text.unbind(1)]).mean()
        excess = one_to_k(image, text, temperature=TEMPERATURE, balanced=True) - mean
        scores = torch.einsum("ie,jke->ijk", image, text) / TEMPERATURE
        expected = (scores.flatten(1).logsumexp(1) - scores.logsumexp(1).mean(1)).mean() / 2
    return {
        "of the way to captions": abs(float(excess - expected)),
        "below log K": max(0.0, math.log(LANGUAGES) / 2 - float(excess)),
    }
