"""Mixtures of the features of a batch, and which two a hard positive is made of."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import gather, shards
from common.random import uniform
from common.sampling.mining import draw_hard_negatives, hardest_of_labels
from common.sampling.mixup import Mixture, beta
from common.sampling.partners import permuted

LEAST_SHARE = 0.8
"""Of the other row in a semi-hard negative."""
Mining = Literal["hardest", "released", "random", "none"]


def released_pairs(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """As the released code finds them, by products of cosines with masks that are 0 elsewhere.

    Of features that are at least 0, as behind a ReLU, what a mask hides is the least similar. So the first is no
    farthest row of the class but the first row of the batch that is not another of the class; and where that is row 0,
    the row itself stands in.

    Args:
        features: (n, d).
        labels: int (n,).

    Returns:
        Positions, both int64 (n,).
    """
    unit, own = F.normalize(features, dim=1), torch.arange(len(labels), device=labels.device)
    cosine, same = unit @ unit.T, (labels[:, None] == labels).to(features.dtype)
    first = (cosine * same.fill_diagonal_(0)).argmin(dim=1)
    second = (cosine * (labels[:, None] != labels)).argmax(dim=1)
    return torch.where(first == 0, own, first), second


def random_pairs(features: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Any other row of the class, or the row itself if it has none, and any of another class; draws are (n, 2).

    Raises:
        UserError: there is one class alone.
    """
    same, alike = labels[:, None] == labels, features.new_zeros(len(labels), len(labels))
    others = same.clone().fill_diagonal_(False)
    lone = torch.diag(~others.any(dim=1))
    return draw_hard_negatives(alike, ~(others | lone), draws[:, 0]), draw_hard_negatives(alike, same, draws[:, 1])


MINING: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "hardest": lambda features, labels, _: hardest_of_labels(features, labels),
    "released": lambda features, labels, _: released_pairs(features, labels),
    "random": random_pairs,
}


class Rows(NamedTuple):
    """What both terms are taken over."""

    features: Tensor
    """Shape (m, d)."""
    targets: Tensor
    """Shares of the classes, shape (m, classes)."""
    kinds: Tensor
    """The same number for rows of the same shares of all classes, on all processes, int64 of shape (m,)."""


def mixed_rows(
    features: Tensor, labels: Tensor, ids: Tensor, classes: int, mining: Mining, alpha: float, *key: int
) -> Rows:
    """This process's features, and mixtures for each of features of the whole batch: [z; z_neg; z_pos].

    z_neg = share * z_other + (1 - share) * z, the share at least 0.8, the other by a random permutation of the batch:
    it may be of the same class, or the row itself. z_pos = share * z_first + (1 - share) * z_second, the two by
    `mining`. A share is drawn for each mixture. Two rows are of a kind if they have the same shares of all classes:
    those of one class alone, and of z_neg those of the same two classes at a share of 0.8, which four of five have.

    Args:
        features: shape (n, d); differentiable.
        labels: from 0 to classes - 1, shape (n,).
        ids: of the samples, shape (n,).
        mining: with "none" there is z alone.
        alpha: shares are of Beta(alpha, alpha).
        key: what the draws depend on besides.

    Source: Zhang et al. 2021, sections on hard pairs, in the reading of their code.
    """
    clean = F.one_hot(labels, classes).float()
    if mining == "none":
        return Rows(features, clean, labels)
    layout = shards(len(labels), labels.device)
    every, of = gather(features, layout), gather(labels, layout)
    own = torch.arange(layout.total, device=labels.device)[layout.own]
    share = beta(ids, 2, alpha, alpha, *key, 1)
    first, second = MINING[mining](every.detach(), of, uniform(gather(ids, layout), 2, *key, 2))
    other = permuted(own, uniform(ids, 2, *key, 3))
    negative = Mixture(other, own, share[:, 0].clamp(min=LEAST_SHARE))
    mixtures = negative, Mixture(first[own], second[own], share[:, 1])
    targets = torch.cat([clean, *(mixture.targets(of, classes) for mixture in mixtures)])
    layout = shards(len(targets), labels.device)
    # Shares of 1 - s and s of one class add up to exactly 1, so that such a mixture is a row of its class.
    kinds = gather(targets, layout).unique(dim=0, return_inverse=True)[1][layout.own]
    return Rows(torch.cat([features, *(mixture.of(every) for mixture in mixtures)]), targets, kinds)
