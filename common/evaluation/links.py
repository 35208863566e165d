"""Link prediction: ranks among all candidates, without those that are known to be right as well."""

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import finite


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
        UserError: a score is NaN or infinite, or the shapes do not fit.
    """
    if scores.ndim != 2 or not len(scores) or known.shape != scores.shape:
        raise UserError(f"scores {tuple(scores.shape)} and known {tuple(known.shape)}: expected (n, m) of both")
    check_ids("answer", answer, len(scores))
    if not bool(((answer >= 0) & (answer < scores.shape[1])).all()):
        raise UserError(f"answer holds columns outside 0 to {scores.shape[1] - 1}, the candidates there are")
    finite("scores of candidates", scores)
    own = scores.gather(1, answer[:, None])
    better = (scores >= own) & ~known
    return better.scatter_(1, answer[:, None], True).sum(dim=1)


def link_metrics(ranks: Tensor) -> Metrics:
    """`mrr`, `hits@1`, `hits@3` and `hits@10`, means over the ranks, which may have any shape.

    Raises:
        UserError: there is no rank.
    """
    if not ranks.numel():
        raise UserError("link_metrics needs at least one rank; there is none")
    ranks = ranks.flatten().double()
    return {"mrr": Mean(ranks.reciprocal())} | {f"hits@{k}": Mean(ranks <= k) for k in (1, 3, 10)}


def recommendation_metrics(scores: Tensor, wanted: Tensor, known: Tensor, at: int = 20) -> Metrics:
    """Top-k recommendation over all items, without those that the user is known to like; items that tie stand worst.

    Args:
        scores: of every item for every user, shape (u, m).
        wanted: the items to be found, bool (u, m); users without any are left out.
        known: items that are not recommended again, bool (u, m).
        at: length k of the list, at least 1; all items where there are fewer.

    Returns:
        `recall@k`, the share of a user's wanted items on the list, and `ndcg@k` with a gain of 1 for each, both the
        mean over the users who want one.

    Raises:
        UserError: a score is NaN or infinite, no user wants anything, `at` is below 1, or the shapes differ.
    """
    if scores.ndim != 2 or not scores.shape == wanted.shape == known.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (scores, wanted, known))
        raise UserError(f"scores, wanted and known {shapes}: expected (u, m) of all")
    if at < 1 or not wanted.any():
        raise UserError(
            f"recommendation of {at} items to {int(wanted.any(1).sum())} users who want one: expected 1 each"
        )
    scores = finite("scores of items", scores).masked_fill(known, -torch.inf)
    # Of items that tie, the unwanted come first, so a constant score finds nothing.
    order = wanted.byte().argsort(dim=1, stable=True)
    order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
    hits = wanted.gather(1, order)[:, :at].double()
    counts = wanted.sum(dim=1)
    places = hits.shape[1]
    discount = torch.arange(2, places + 2, dtype=torch.float64, device=hits.device).log2().reciprocal()
    ideal = discount.cumsum(0)[counts.clamp(1, places) - 1]
    asked = counts > 0
    return {
        f"recall@{at}": Mean((hits.sum(dim=1) / counts)[asked]),
        f"ndcg@{at}": Mean(((hits @ discount) / ideal)[asked]),
    }
