"""Contrastive losses as expectations under a known joint distribution, in float64 and differentiable.

In each of them `scores`, (n, m), holds s(a, b) for every pair of values, positives (a, b) are drawn from `joint`, and
negatives of a from `noise`: probabilities of b, (m,), or for each a its own, (n, m); by default p(b).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from common.errors import UserError
from common.population.joint import Joint

_STEP = 0.25
"""Of the trapezoid rule; its error falls as exp(-pi^2 / step), to below 1e-16 here."""
_LOOKED_AT = 1 << 21
"""Entries that are held at once."""


def info_nce(scores: Tensor, joint: Joint, negatives: int, noise: Tensor | None = None) -> Tensor:
    """E[log(exp s(a, b) + sum_k exp s(a, b_k)) - s(a, b)] over a pair and `negatives` independent draws b_k, in nats.

    Exact for any number of negatives, to about 1e-13: with X the sum inside, E log X is the integral over t > 0 of
    (exp(-t) - E exp(-t X)) / t, and E exp(-t X) is a product over the draws (Frullani's integral).

    Args:
        scores, joint, noise: see the module.
        negatives: K - 1 for K candidates, at least 0.

    Raises:
        UserError: `negatives` is below 0, shapes don't fit, or a score that counts is not finite.
    """
    if negatives < 0:
        raise UserError(f"negatives is {negatives}; it must be at least 0")
    scores, noise = _checked(scores, joint, noise)
    at, to = joint.p.nonzero(as_tuple=True)
    counts = (joint.p > 0) | (noise > 0)
    top = scores.detach().masked_fill(~counts, -torch.inf).amax(dim=1)
    top = top.where(top.isfinite(), 0.0)
    # What cannot be drawn is left out before the exponential, whose gradient would be NaN where it overflows.
    weight = (scores - top[:, None]).where(counts, 0.0).exp()
    positive = weight[at, to]
    # exp(-t X) has fallen to 0 once t X > 40, and X is at least the positive's part.
    depth = float(-positive.detach().log().min())
    ends = -math.log(negatives + 1) - 38, depth + math.log(40)
    nodes = torch.arange(math.floor(ends[0] / _STEP), math.ceil(ends[1] / _STEP) + 1, dtype=torch.float64) * _STEP
    total = torch.zeros(len(at), dtype=torch.float64)
    for t in nodes.exp().split(max(1, _LOOKED_AT // weight.numel())):
        # log of E exp(-t w) over a draw; expm1 keeps the digits where t w is small and is to the power of many draws.
        miss = (noise[:, :, None] * torch.expm1(-t * weight[:, :, None])).sum(dim=1)
        survival = negatives * torch.log1p(miss.clamp(min=1e-16 - 1))[at] - t * positive[:, None]
        total = total + _STEP * (torch.exp(-t) - survival.exp()).sum(dim=1)
    return (joint.p[at, to] * (total + top[at] - scores[at, to])).sum()


def info_nce_limit(scores: Tensor, joint: Joint, noise: Tensor | None = None) -> Tensor:
    """-E s(a, b) + E_a log E_noise exp s(a, b): what `info_nce` less log(negatives) tends to; in nats.

    At best it is -I(a; b), where s is `joint.log_ratio` plus any function of a. With the diagonal left out of `noise`
    it is also the loss of a whole batch of points, and with shares of blocks that of a block model.

    Source: Wang and Isola 2020, theorem 1.
    """
    scores, noise = _checked(scores, joint, noise)
    # A score of -inf has a weight of 0, and no gradient that would be NaN.
    counted = (scores > -torch.inf) & (noise > 0)
    exponents = torch.where(counted, scores + noise.where(counted, 1.0).log(), -torch.inf)
    asked = joint.rows > 0
    return (joint.rows[asked] * exponents[asked].logsumexp(dim=1)).sum() - _mean(scores, joint.p)


def spectral(scores: Tensor, joint: Joint, noise: Tensor | None = None) -> Tensor:
    """-2 E s(a, b) + E_a E_noise s(a, b)^2.

    At best, where s(a, b) is p(a, b) / (p(a) p(b)), it is -1 - the chi-square information.

    Source: HaoChen et al. 2021, eq. 6.
    """
    scores, noise = _checked(scores, joint, noise)
    return (joint.rows * (noise * scores.square()).sum(dim=1)).sum() - 2 * _mean(scores, joint.p)


def triplet(scores: Tensor, joint: Joint, penalty: Callable[[Tensor], Tensor], noise: Tensor | None = None) -> Tensor:
    """E penalty(s(a, b) - s(a, b')) over a pair and one draw b': each pair is compared with each negative.

    Args:
        scores, joint, noise: see the module.
        penalty: elementwise, such as the hinge max(0, 1 - v) or the logistic log2(1 + exp(-v)).

    Source: Arora et al. 2019, definition 2.3.
    """
    scores, noise = _checked(scores, joint, noise)
    cost = penalty(scores[:, :, None] - scores[:, None, :])
    return torch.einsum("ab,ac,abc->", joint.p, noise, cost)


def _mean(scores: Tensor, p: Tensor) -> Tensor:
    return (p * scores.where(p > 0, 0.0)).sum()


def _checked(scores: Tensor, joint: Joint, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores and noise in float64, both (n, m)."""
    if scores.shape != joint.p.shape:
        raise UserError(f"scores {tuple(scores.shape)}: expected {tuple(joint.p.shape)}, one for each pair of values")
    scores = scores.double()
    noise = joint.columns if noise is None else noise.double()
    if noise.shape not in (scores.shape, scores.shape[1:]):
        raise UserError(f"noise {tuple(noise.shape)}: expected ({scores.shape[1]},) or {tuple(scores.shape)}")
    noise = noise.expand_as(scores)
    total = noise.sum(dim=1)[joint.rows > 0]
    if bool((noise < 0).any()) or float((total - 1).abs().max()) > 1e-9:
        raise UserError(f"noise has sums from {float(total.min())} to {float(total.max())}; each must be 1")
    if not scores[joint.p > 0].isfinite().all() or bool((scores.isnan() | (scores == torch.inf)).any()):
        raise UserError("a score is NaN or infinite; of pairs that never occur together it may be -inf alone")
    return scores, noise
