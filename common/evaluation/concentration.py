"""How near an augmentation brings samples of one class, whatever the encoder (Huang et al. 2023)."""

import torch
from torch import Tensor

from common.checks import check_ids, check_number
from common.errors import UserError
from common.evaluation.scoring import finite

_STARTS = 16


def augmented_distance(views: Tensor) -> Tensor:
    """d_A(i, j): the least Euclidean distance of any view of sample i to any view of sample j.

    Args:
        views: all that an augmentation can make of each sample, (v, n, d). If they are a draw of more, the distances
            are too large.

    Returns:
        (n, n), float64, 0 on the diagonal.
    """
    if views.ndim != 3 or not views.numel():
        raise UserError(f"views {tuple(views.shape)}: expected (v, n, d)")
    v, n, _ = views.shape
    flat = finite("views", views).double().flatten(0, 1)
    return torch.cdist(flat, flat).view(v, n, v, n).amin(dim=(0, 2)).fill_diagonal_(0)


def concentration(distance: Tensor, labels: Tensor, delta: float, weights: Tensor | None = None) -> float:
    """sigma: the share of each class, in the class that has least of it, that lies within delta of each other.

    An augmentation is a (sigma, delta)-augmentation if every class has a main part of this share whose samples are all
    at most delta apart. The largest part is sought greedily, from the 16 samples of each class that have most around
    them, so that sigma is never too large; of classes with up to 16 samples each is tried as a start.

    Args:
        distance: of samples under the augmentation, (n, n), symmetric; see `augmented_distance`.
        labels: classes, (n,).
        delta: at least 0.
        weights: probabilities of the samples, (n,); by default all are alike.

    Returns:
        In (0, 1].

    Raises:
        UserError: shapes do not fit, distances are not symmetric, or `delta` is below 0.

    Source: Huang et al. 2023, definition 1.
    """
    check_number("delta", delta, least=0)
    n = len(labels)
    check_ids("labels", labels, n)
    if distance.shape != (n, n) or not distance.allclose(distance.T):
        raise UserError(f"distance {tuple(distance.shape)}: expected a symmetric matrix, ({n}, {n})")
    weights = torch.ones(n) if weights is None else weights
    if weights.shape != (n,) or not bool((weights > 0).all()):
        raise UserError(f"weights {tuple(weights.shape)}: expected ({n},), all above 0")
    near, shares = distance <= delta, []
    for label in labels.unique():
        own = labels == label
        mass = weights[own].double()
        shares.append(_heaviest(near[own][:, own], mass / mass.sum()))
    return min(shares)


def _heaviest(near: Tensor, mass: Tensor) -> float:
    """The mass of a heavy set of points that are all near each other."""
    near = near.double().fill_diagonal_(1)
    around = near @ mass
    starts = around.topk(min(_STARTS, len(mass))).indices
    # For each start, who may still come in, and who is in; the next is whoever keeps most of the others.
    open_, chosen = near[starts], torch.zeros(len(starts), len(mass), dtype=torch.bool)
    next_ = starts
    rows = torch.arange(len(starts))
    while True:
        chosen[rows, next_] = True
        open_ = open_ * near[next_]
        left = open_.bool() & ~chosen
        if not left.any():
            return float((chosen * mass).sum(dim=1).max())
        kept = ((open_ * mass) @ near).masked_fill(~left, -1)
        best = kept.argmax(dim=1)
        # Who has nobody left stays with what is in.
        next_ = torch.where(left.any(dim=1), best, next_)
