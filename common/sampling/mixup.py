"""Mixtures of two samples: of inputs, of feature maps or of embeddings, and which share of a label each is worth."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_ids, check_number
from common.distributed import Exchange, gather, shards
from common.errors import UserError
from common.random import uniform


def beta(ids: Tensor, draws: int, a: float, b: float, *key: int) -> Tensor:
    """Numbers of a Beta(a, b) distribution for every sample, through its quantiles.

    Args:
        ids, draws, key: as in `common.random.uniform`.
        a, b: above 0; the mean is a / (a + b).

    Returns:
        float32 of shape (n, draws), in [0, 1], the same on any number of processes.

    Raises:
        UserError: a or b is not above 0.
    """
    check_number("a", a, above=0)
    check_number("b", b, above=0)
    # From the middle of each of the 2^24 steps, as for normal numbers.
    middle = uniform(ids, draws, *key).double() + 0.5 / (1 << 24)
    return torch.from_numpy(betaincinv(a, b, middle.cpu().numpy())).float().to(ids.device)


def beta_quantiles(count: int, a: float, b: float) -> Tensor:
    """The middles, by probability, of `count` equally likely parts of a Beta(a, b) distribution.

    One of them at random is as good as a draw of `beta`, and costs no quantile: for a matrix of shares a step.

    Returns:
        float32 of shape (count,), rising, in [0, 1].

    Raises:
        UserError: a or b is not above 0.
    """
    check_number("a", a, above=0)
    check_number("b", b, above=0)
    return torch.from_numpy(betaincinv(a, b, (np.arange(count) + 0.5) / count)).float()


class Mixture(NamedTuple):
    """`m` mixtures share * x[first] + (1 - share) * x[second] of rows of whatever x."""

    first: Tensor
    """int64, shape (m,)."""
    second: Tensor
    """int64, shape (m,)."""
    share: Tensor
    """Of the first, in [0, 1], shape (m,)."""

    def of(self, x: Tensor) -> Tensor:
        """The mixtures of rows of x, (n, ...): shape (m, ...)."""
        share = self.share.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        # On a processor the gradient of index_select takes half the time of that of x[...].
        return share * x.index_select(0, self.first) + (1 - share) * x.index_select(0, self.second)

    def targets(self, labels: Tensor, classes: int) -> Tensor:
        """The mixed labels as distributions over the classes, shape (m, classes), from labels of shape (n,)."""
        return self.of(F.one_hot(labels, classes).to(self.share.dtype))

    def pair_labels(self, anchors: Tensor, labels: Tensor) -> Tensor:
        """How much of each mixture is of its anchor's class: 1 is a positive, 0 a negative.

        share * [label of the first = anchor's] + (1 - share) * [label of the second = anchor's], as in Metrix
        (Venkataramanan et al. 2022).

        Args:
            anchors: the class of the anchor that each mixture is compared with, shape (m,).
            labels: the classes of the rows, shape (n,).

        Returns:
            In [0, 1], shape (m,).
        """
        first, second = ((labels[rows] == anchors).to(self.share.dtype) for rows in (self.first, self.second))
        return self.share * first + (1 - self.share) * second


class Mixed(NamedTuple):
    """This process's rows, each mixed with another row of the whole batch."""

    x: Tensor
    """Shape (n_local, ...)."""
    labels: Tensor
    """Of the row itself, shape (n_local,)."""
    others: Tensor
    """Of the row it is mixed with, shape (n_local,)."""
    share: Tensor
    """Of the row itself, shape (n_local,)."""

    def losses(self, losses: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
        """The loss of each row under both of its labels, weighted by their shares, shape (n_local,).

        Args:
            losses: makes one loss a row of logits and labels.
            logits: of `x`, shape (n_local, classes).
        """
        return self.share * losses(logits, self.labels) + (1 - self.share) * losses(logits, self.others)


def mixup(
    x: Tensor, labels: Tensor, ids: Tensor, alpha: float, *key: int, exchange: Exchange = Exchange.GATHER
) -> Mixed:
    """Each row of a batch mixed with another of it, by a share of Beta(alpha, alpha) that is its own.

    The rows stand in a circle in a random order, and each is mixed with the next one, so that none meets itself. Order
    and shares depend on the ids and the key, and with `exchange` "gather" the batch is that of all processes: a run is
    the same on any number of them. The released code of mixup draws one share for the whole batch; here as the paper
    writes it, one for each pair.

    Args:
        x: inputs, feature maps or embeddings, shape (n_local, ...); differentiable.
        labels: shape (n_local,).
        ids: of the samples, shape (n_local,).
        alpha: above 0; 1 draws shares evenly, less mixes less.
        key: what order and shares depend on besides, such as `Method.key("mixup")`.

    Raises:
        UserError: alpha is not above 0, labels or ids do not fit, or the batch is a single row.

    Source: Zhang et al. 2018; Verma et al. 2019 for what is not an input.
    """
    check_ids("labels", labels, len(x))
    check_ids("ids", ids, len(x))
    layout = shards(len(x), x.device, exchange)
    if layout.total < 2:
        raise UserError("a batch of 1 has no other row to mix with")
    every, of, id_of = (gather(rows, layout) for rows in (x, labels, ids))
    order = uniform(id_of, 1, *key, 1).flatten().argsort(stable=True)
    partner = torch.empty_like(order).scatter_(0, order, order.roll(-1))
    share = beta(id_of, 1, alpha, alpha, *key, 2).flatten()
    own = Mixture(torch.arange(layout.total, device=x.device), partner, share)
    own = Mixture(*(column[layout.own] for column in own))
    return Mixed(own.of(every), labels, of[own.second], own.share)


class AnchoredPairs(NamedTuple):
    """Two rows that are to be mixed, and the anchor that their mixture is compared with; int64, each of shape (m,)."""

    anchor: Tensor
    first: Tensor
    second: Tensor


def positive_negative(labels: Tensor, *, every_positive: bool = False) -> AnchoredPairs:
    """For each anchor a positive with each of its negatives; an anchor without either has none.

    Args:
        labels: shape (n,).
        every_positive: mixes each positive of an anchor, instead of the first of the batch.
    """
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if not every_positive:
        positive &= positive.cumsum(dim=1) == 1
    anchor, first = positive.nonzero(as_tuple=True)
    row, second = (~same)[anchor].nonzero(as_tuple=True)
    return AnchoredPairs(anchor[row], first[row], second)


def anchor_negative(labels: Tensor, *, lone: bool = False) -> AnchoredPairs:
    """Each anchor itself with each of its negatives.

    Args:
        labels: shape (n,).
        lone: only anchors without a positive in the batch.
    """
    same = labels[:, None] == labels
    kept = ~same & (same.sum(dim=1) == 1)[:, None] if lone else ~same
    anchor, second = kept.nonzero(as_tuple=True)
    return AnchoredPairs(anchor, anchor, second)
