"""What the softmax form promises: a lower bound on what the two views know of each other."""

import itertools
import math

import torch
from torch import Tensor

from papers.vision_ssl.cmc.module import CMC


def bound(seed: int) -> dict[str, float]:
    """By how much log(K + 1) minus the loss exceeds the mutual information of two views with four values each.

    The expectation is a sum over all draws of a pair and of K negatives, for scores drawn at random and for the best
    ones, the logarithm of p(a, b) / p(a) p(b).

    Returns:
        The excess over the information for each K and kind of scores, in nats; 0 where the bound holds.
    """
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand(4, 4, generator=generator, dtype=torch.float64) ** 3
    joint /= joint.sum()
    chance = joint.sum(1, keepdim=True) * joint.sum(0)
    information = float((joint * (joint / chance).log()).sum())
    kinds = {"any": 3 * torch.randn(4, 4, generator=generator, dtype=torch.float64), "best": (joint / chance).log()}
    return {
        f"{kind} scores, K = {negatives}": max(0.0, found - information)
        for kind, scores in kinds.items()
        for negatives in (1, 2, 3)
        for found in [math.log(negatives + 1) - expected_loss(scores, joint, negatives)]
    }


def expected_loss(scores: Tensor, joint: Tensor, negatives: int) -> float:
    """The loss of scores (a, b) under pairs from `joint` and negatives from its second margin."""
    method = CMC(loss="softmax", temperature=1.0).double()
    margin, values = joint.sum(0), range(len(joint))
    total = 0.0
    # A code is its row of scores and the bank the unit vectors, so that their products are the scores.
    bank = torch.eye(len(scores), dtype=torch.float64)
    for own, *others in itertools.product(values, repeat=1 + negatives):
        weight = math.prod(float(margin[k]) for k in others)
        columns = torch.tensor([[own, *others]])
        for a in values:
            term = method.term(scores[a : a + 1], bank, method.log_z[0], columns)
            total += weight * float(joint[a, own]) * float(term)
    return total
