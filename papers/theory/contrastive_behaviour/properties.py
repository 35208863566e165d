"""How the contrastive loss weighs negatives: gradients, their entropy, both limits of the temperature, in float64.

An anchor's vector is the list of its scores and the keys are unit vectors of the axes, so that the gradient of the loss
in a score is what automatic differentiation gives through the loss that is trained with.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from common.scores import Scores
from papers.theory.contrastive_behaviour.losses import Form, anchor_losses

ANCHORS, NEGATIVES, KEPT = 6, 200, 16
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
COLD, HOT = 1e-3, 1e3


class Slopes(NamedTuple):
    """Of each anchor: the loss, and its derivative in the score of the positive and of each negative."""

    loss: Tensor
    positive: Tensor
    negatives: Tensor


def drawn(seed: int) -> Tensor:
    """Cosines of six anchors with their positive and 200 negatives, (6, 201), uniform from -1 to 1.

    The first anchor's positive is farther than all its negatives, the second's is nearer.
    """
    draw = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(ANCHORS, 1 + NEGATIVES, generator=draw, dtype=torch.float64) - 1
    cosines[0, 0], cosines[1, 0] = -1.0, 1.0
    return cosines


def slopes(cosines: Tensor, temperature: float, kept: int | None = None, form: Form = "softmax") -> Slopes:
    """Of the loss that is trained with; `kept` negatives of each anchor count, the nearest."""
    given = cosines.clone().requires_grad_()
    rows = given / temperature if form == "softmax" else given
    scores = Scores(rows, torch.eye(1 + NEGATIVES, dtype=torch.float64))
    first = torch.zeros(ANCHORS, 1 + NEGATIVES, dtype=torch.bool)
    first[:, 0] = True
    negatives = scores.exclude(first)
    columns = None if kept is None else negatives.topk(kept)[1]
    losses = anchor_losses(rows[:, 0], negatives, columns, form=form, count=NEGATIVES)
    (found,) = torch.autograd.grad(losses.sum(), given)
    return Slopes(losses.detach(), found[:, 0], found[:, 1:])


def entropy(shares: Tensor) -> Tensor:
    return torch.special.entr(shares).sum(dim=1)


def gradients(seed: int) -> dict[str, float]:
    """Eq. 4 and 5: P_ij / t for a negative, less their sum for the positive, and shares that are a softmax of s / t."""
    cosines, found = drawn(seed), {}
    for t in TEMPERATURES:
        p = (cosines / t).softmax(dim=1)
        ours = slopes(cosines, t)
        shares = (cosines[:, 1:] / t).softmax(dim=1)
        # The shares of a negative where the positive has won are those of numbers near the end of float64.
        ratio = torch.where(ours.positive[:, None] < -1e-200, ours.negatives / -ours.positive[:, None], shares)
        found[f"negatives, temperature {t}"] = float((t * ours.negatives - p[:, 1:]).abs().max())
        found[f"positive, temperature {t}"] = float((t * ours.positive + p[:, 1:].sum(dim=1)).abs().max())
        found[f"shares, temperature {t}"] = float((ratio - shares).abs().max())
    return found


def hardness(seed: int) -> dict[str, float]:
    """The entropy of the shares: how little it rises with the temperature, where it should by more than 1e-6, and how
    far its derivative is from the variance of the scores under the shares over t^3."""
    cosines, found, before = drawn(seed)[2:, 1:], {}, None
    for t in TEMPERATURES:
        temperature = torch.full((len(cosines), 1), t, dtype=torch.float64, requires_grad=True)
        value = entropy((cosines / temperature).softmax(dim=1))
        (rise,) = torch.autograd.grad(value.sum(), temperature)
        ours = slopes(drawn(seed), t)
        shares = (ours.negatives / -ours.positive[:, None])[2:]
        mean = (shares * cosines).sum(dim=1, keepdim=True)
        variance = (shares * (cosines - mean).square()).sum(dim=1)
        found[f"rise, temperature {t}"] = float((t * rise.flatten() - variance / t**2).abs().max())
        now = entropy(shares)
        if before is not None:
            found[f"up to temperature {t}"] = max(0.0, float((before + 1e-6 - now).max()))
        before = now
    return found


def cold(seed: int) -> dict[str, float]:
    """Eq. 6 at a temperature of 0.001: t L lies from max(0, s_max - s+) to that and t log N, and the nearest negative
    alone is pushed, if it is nearer than the positive."""
    cosines = drawn(seed)
    hinge = (cosines[:, 1:].amax(dim=1) - cosines[:, 0]).clamp(min=0)
    ours = slopes(cosines, COLD)
    over = COLD * ours.loss - hinge
    nearest = F.one_hot(cosines[:, 1:].argmax(dim=1), NEGATIVES) * (hinge > 0)[:, None]
    # From the largest score to the next a share falls by a factor of e every t.
    first, second = cosines.topk(2).values.T
    small = torch.exp(-(first - second) / COLD) * NEGATIVES
    pushed = (COLD * ours.negatives - nearest).abs().amax(dim=1)
    return {
        "below": max(0.0, float(-over.min())),
        "above": max(0.0, float(over.max()) - COLD * math.log(1 + NEGATIVES)),
        "other than the nearest": max(0.0, float((pushed - small).max())),
    }


def hot(seed: int) -> dict[str, float]:
    """Eq. 7 at a temperature of 1,000, and one order more: what is left of the loss, less the variance of all scores
    over 2 t^2, is at most 8 / (6 t^3), since third cumulants of numbers from -1 to 1 are at most 8.

    Then the gradients: those of the approximation are the simple loss's times (N - 1) / (N t), and the softmax's differ
    from them by at most 2 / (N t^2), since no share is farther from 1 / N than by exp(2 / t) - 1 over it.
    """
    cosines, n = drawn(seed), 1 + NEGATIVES
    ours, simple = slopes(cosines, HOT), slopes(cosines, HOT, form="simple")
    others = cosines[:, 1:].sum(dim=1)
    near = math.log(n) - (n - 1) / (n * HOT) * cosines[:, 0] + others / (n * HOT)
    rest = ours.loss - near - cosines.var(dim=1, correction=0) / (2 * HOT**2)
    factor, allowed = (n - 1) / (n * HOT), 2.01 / (n * HOT**2)
    return {
        "loss": max(0.0, float(rest.abs().max()) - 8 / (6 * HOT**3)),
        "simple loss": float((factor * simple.loss - (near - math.log(n))).abs().max()),
        "positive": max(0.0, float((ours.positive - factor * simple.positive).abs().max()) - n * allowed),
        "negatives": max(0.0, float((ours.negatives - factor * simple.negatives).abs().max()) - allowed),
    }


def truncation(seed: int) -> dict[str, float]:
    """Eq. 8 and 9: nothing for negatives that are not among the nearest, the softmax of s / t over those that are, and
    the positive as in eq. 4, however far it is; shares that are no more even than without truncation."""
    cosines, found = drawn(seed), {}
    for t in (0.1, 0.3, 1.0):
        ours, whole = slopes(cosines, t, KEPT), slopes(cosines, t)
        least = cosines[:, 1:].topk(KEPT).values[:, -1:]
        counted = cosines[:, 1:] >= least
        logits = torch.cat([cosines[:, :1], cosines[:, 1:].masked_fill(~counted, -torch.inf)], dim=1) / t
        p = logits.softmax(dim=1)
        found[f"loss, temperature {t}"] = float((ours.loss - (logits.logsumexp(dim=1) - logits[:, 0])).abs().max())
        found[f"negatives, temperature {t}"] = float((t * ours.negatives - p[:, 1:]).abs().max())
        found[f"positive, temperature {t}"] = float((t * ours.positive + p[:, 1:].sum(dim=1)).abs().max())
        evenness = [entropy(one.negatives / -one.positive[:, None]) for one in (ours, whole)]
        found[f"entropy, temperature {t}"] = max(0.0, float((evenness[0] - evenness[1]).max()))
    simple = slopes(cosines, 1.0, KEPT, "simple")
    found["simple"] = float((simple.negatives - counted / KEPT).abs().max() + (simple.positive + 1).abs().max())
    return found
