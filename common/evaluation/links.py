"""Link prediction: ranks among all candidates, without those that are known to be right as well."""

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.errors import UserError


def filtered_ranks(scores: Tensor, answer: Tensor, known: Tensor) -> Tensor:
    """The rank of each query's answer among the candidates, from 1; candidates as good as it stand before it.

    Args:
        scores: of every candidate, shape (n, m).
        answer: the candidate that is asked for, int64 of shape (n,).
        known: candidates that are right as well and so are left out ("filtered", Bordes et al. 2013), bool (n, m); the
            answer itself may be among them.

    Returns:
        int64 of shape (n,).

    Raises:
        UserError: a score is NaN or infinite.
    """
    if not scores.isfinite().all():
        raise UserError("scores of candidates hold NaN or infinite values; they cannot be ranked")
    own = scores.gather(1, answer[:, None])
    better = (scores >= own) & ~known
    return better.scatter_(1, answer[:, None], True).sum(dim=1)


def link_metrics(ranks: Tensor) -> Metrics:
    """`mrr`, `hits@1`, `hits@3` and `hits@10` of ranks of any shape."""
    ranks = ranks.double()
    return {"mrr": float(ranks.reciprocal().mean())} | {
        f"hits@{k}": float((ranks <= k).double().mean()) for k in (1, 3, 10)
    }


def recommendation_metrics(scores: Tensor, wanted: Tensor, known: Tensor, at: int = 20) -> Metrics:
    """Top-k recommendation over all items, without those that the user is known to like; items that tie stand worst.

    Args:
        scores: of every item for every user, shape (u, m).
        wanted: the items to be found, bool (u, m); users without any are left out.
        known: items that are not recommended again, bool (u, m).
        at: length k of the list.

    Returns:
        `recall@k`, the share of a user's wanted items on the list, and `ndcg@k` with a gain of 1 for each, both the
        mean over users.

    Raises:
        UserError: a score is NaN or infinite.
    """
    if not scores.isfinite().all():
        raise UserError("scores of items hold NaN or infinite values; they cannot be ranked")
    scores = scores.masked_fill(known, -torch.inf)
    # Of items that tie, the unwanted come first, so a constant score finds nothing.
    order = wanted.byte().argsort(dim=1, stable=True)
    order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
    hits = wanted.gather(1, order)[:, :at].double()
    counts = wanted.sum(dim=1)
    discount = torch.arange(2, at + 2, dtype=torch.float64).log2().reciprocal()
    ideal = discount.cumsum(0)[counts.clamp(1, at) - 1]
    asked = counts > 0
    return {
        f"recall@{at}": float((hits.sum(dim=1) / counts)[asked].mean()),
        f"ndcg@{at}": float(((hits @ discount) / ideal)[asked].mean()),
    }
