"""The contrastive loss and its limit at high temperature, of anchors that meet all of their negatives or some."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import Exchange
from common.random import normal
from common.scores import Scores

Form = Literal["softmax", "simple"]
_DIRECTIONS = 16
"""Of the random vectors whose order is a random choice."""


def anchor_losses(positive: Tensor, scores: Scores, columns: Tensor | None = None, *, form: Form, count: int) -> Tensor:
    """The loss of each anchor, (m,).

    "softmax": log(exp s+ + sum_k exp s_k) - s+ (eq. 1, and 9 where only some negatives count). "simple": the mean of
    s_k less s+ (eq. 3, with the weight that eq. 7 gives it).

    Args:
        positive: s+, the score of each anchor with its positive, (m,); it always counts.
        scores: of the anchors with all keys, those that are no negatives excluded.
        columns: the negatives that count, (m, k); by default all. What they are is a constant for the gradient.
        form: of the loss.
        count: how many negatives an anchor has.
    """
    if form == "simple":
        mean = scores.sum(lambda s: s) / count if columns is None else scores.pairs(columns).mean(dim=1)
        return mean - positive
    total = scores.logsumexp(dim=1) if columns is None else scores.pairs(columns).logsumexp(dim=1)
    return torch.logaddexp(total, positive) - positive


def random_order(ids: Tensor, views: int, *key: int, exchange: Exchange = Exchange.GATHER) -> Scores:
    """Scores that say nothing of the embeddings: the largest of an anchor are a random choice of keys.

    Inner products of random directions, which belong to sample and view, so that the choice is the same on any number
    of processes. Each anchor has an order of its own, in which all keys are as likely.

    Args:
        ids: of the samples, (n,); anchors and keys are one view of all samples after the other.
        views: of each sample.
        key: what the choice depends on beside the sample.
        exchange: which keys an anchor meets on several processes.
    """
    sides = [torch.cat([normal(ids, _DIRECTIONS, *key, side, view) for view in range(views)]) for side in range(2)]
    # Keys of one length, as a longer one would come first or last in the order of every anchor.
    return Scores(sides[0], F.normalize(sides[1], dim=1), exchange=exchange)
