"""What follows from the form of the loss, checked on random representations and centres in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.classification.harmonic_loss.distances import harmonic_logits

EXPONENTS = (0.5, 1.0, 4.0, 16.0)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Twelve representations, seven centres, and the class of each representation."""
    draw = torch.Generator().manual_seed(seed)
    x, centres = (torch.randn(count, 16, generator=draw, dtype=torch.float64) for count in (12, 7))
    return x, centres, torch.randint(7, (12,), generator=draw)


def scale_invariance(seed: int) -> float:
    """By how much the log-probabilities change if representations and centres are multiplied by a number."""
    x, centres, _ = drawn(seed)
    off = 0.0
    for n in EXPONENTS:
        plain = harmonic_logits(x, centres, exponent=n, eps=0.0).log_softmax(dim=1)
        for times in (1e-3, 0.7, 1e3):
            scaled = harmonic_logits(times * x, times * centres, exponent=n, eps=0.0).log_softmax(dim=1)
            off = max(off, float((scaled - plain).abs().max()))
    return off


def finite_minimum(seed: int) -> float:
    """How far the loss near a centre is from log(1 + sum_j (r / d_j)^2n), r the distance to it and d_j to the others.

    The sum goes to 0 with r: the loss has its infimum, 0, at finite weights.
    """
    x, centres, labels = drawn(seed)
    off = 0.0
    for n in (1.0, 4.0):
        for r in (1e-1, 1e-2, 1e-3):
            near = centres[labels] + r * F.normalize(x, dim=1)
            # From the difference of the vectors, where the logits have it from their inner product.
            loss = F.cross_entropy(harmonic_logits(near, centres, exponent=n, eps=0.0), labels, reduction="none")
            others = torch.linalg.vector_norm(near[:, None] - centres, dim=2)
            ratios = (r / others).pow(2 * n).scatter(1, labels[:, None], 0.0)
            off = max(off, float((loss - ratios.sum(dim=1).log1p()).abs().max()))
    return off


def gradient(seed: int) -> float:
    """The largest difference of the gradient in x from 2 n sum_j ([j is the class] - p_j) (x - w_j) / d_j^2."""
    x, centres, labels = drawn(seed)
    x.requires_grad_()
    off = 0.0
    for n in EXPONENTS:
        logits = harmonic_logits(x, centres, exponent=n, eps=0.0)
        (found,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), x)
        with torch.no_grad():
            apart = x[:, None] - centres
            share = F.one_hot(labels, len(centres)) - logits.softmax(dim=1)
            expected = 2 * n * (share[:, :, None] * apart / apart.square().sum(dim=2, keepdim=True)).sum(dim=1)
        off = max(off, float((found - expected).abs().max()))
    return off
