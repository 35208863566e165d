"""What CoDiEmb trains by: several positives a query, and four losses on graded pairs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import Exchange, gather, global_mean, shards
from common.losses.precision import same_precision
from common.losses.temperature import inverse
from common.scores import Scores

EPS = 1e-8
"""Grades that differ by no more are equal to PRO."""


def multi_positive(
    query: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    others: Tensor | None = None,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """InfoNCE with m positives a query, of which each has a cross-entropy of its own.

    mean over p and i of log[ sum_j exp(q_i k_jp / t) + sum over all n of exp(q_i n / t) ] - q_i k_ip / t. In slot p the
    p-th positives of the other queries and all hard negatives are the candidates; a query's other positives are none.

    Args:
        query: (n, d), normalized by the caller.
        positives: (n, m, d).
        negatives: (n, h, d), of each query; all queries meet all of them.
        others: (k, d), further negatives: what a batch of two tasks holds of the other one.
        exchange: which documents a query meets on several processes.
    """
    scale = inverse(temperature)
    wrong = [negatives.flatten(0, 1), *([] if others is None else [others])]
    beside = [Scores(query, rows, scale=scale, exchange=exchange).logsumexp(dim=1) for rows in wrong]
    losses = []
    for key in positives.unbind(dim=1):
        scores = Scores(query, key, scale=scale, exchange=exchange)
        total = torch.stack([scores.logsumexp(dim=1), *beside]).logsumexp(dim=0)
        losses.append(total - scores.diagonal())
    return global_mean(torch.stack(losses).mean(dim=0))


def top_pairs(
    first: Tensor,
    second: Tensor,
    grades: Tensor,
    *,
    temperature: float,
    threshold: float = 1.0,
    exchange: Exchange = Exchange.LOCAL,
) -> Tensor:
    """InfoNCE of the pairs of high grades, the second texts of all pairs being candidates; 0 without any.

    Args:
        first, second: (n, d), normalized by the caller.
        grades: (n,).
        threshold: the least grade of a pair that is drawn together.
    """
    scores = Scores(first, second, scale=inverse(temperature), exchange=exchange)
    losses = scores.logsumexp(dim=1) - scores.diagonal()
    high = grades >= threshold
    if exchange != Exchange.LOCAL:
        return global_mean(losses, where=high)
    return losses.masked_fill(~high, 0.0).sum() / high.sum().clamp(min=1)


def pearson(scores: Tensor, grades: Tensor) -> Tensor:
    """1 - the correlation of scores and grades, both (n,); 0 where all grades are equal, 1 where all scores are."""
    scores, grades = same_precision(scores, grades)
    x, y = scores - scores.mean(), grades - grades.mean()
    # A root of nothing has no slope: its place is taken by 1, and the covariance is 0 there.
    x_spread, y_spread = x.square().mean(), y.square().mean()
    deviations = [torch.where(spread > 0, spread, 1.0).sqrt() for spread in (x_spread, y_spread)]
    return torch.where(grades.min() == grades.max(), 0.0, 1 - (x * y).mean() / deviations[0] / deviations[1])


def ideal_scores(grades: Tensor) -> Tensor:
    """1 for the highest of n grades, 0 for the lowest, the others by their ranks; equal ones have their mean rank."""
    above = (grades[None] > grades[:, None]).sum(dim=1)
    equal = (grades[None] == grades[:, None]).sum(dim=1)
    # Twice the ranks are whole numbers: the only rounding is that of the division.
    ranks = (2 * above + equal - 1).to(grades) / 2
    return (len(grades) - 1 - ranks) / max(1, len(grades) - 1)


def rank_kl(scores: Tensor, grades: Tensor, *, temperature: float = 0.05) -> Tensor:
    """KL( softmax(ideal / t) || softmax(scores / t) ) / n over the pairs of a batch, (n,) of each.

    The division by n is that of the released code, whose "batchmean" meets a vector.
    """
    scores, grades = same_precision(scores, grades)
    target = (ideal_scores(grades) / temperature).softmax(dim=0)
    return F.kl_div((scores / temperature).log_softmax(dim=0), target, reduction="sum") / len(scores)


def pro(scores: Tensor, grades: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Each pair against all of lower grade, both (n,): the gaps between the grades multiply the scores.

    mean over k of -log[ exp(w_k s_k / t) / (exp(w_k s_k / t) + sum_j exp((y_k - y_j) s_j / t)) ], j over the pairs of
    lower grade, w_k the largest gap, k over the pairs that have such; 0 without any.
    """
    scores, grades = same_precision(scores, grades)
    gaps = grades[:, None] - grades[None]
    lower = gaps > EPS
    largest = gaps.amax(dim=1).clamp(min=0)
    own = largest * scores / temperature
    rest = (gaps * scores / temperature).masked_fill(~lower, -torch.inf)
    some = lower.any(dim=1)
    losses = torch.cat([own[:, None], rest], dim=1).logsumexp(dim=1) - own
    return losses.masked_fill(~some, 0.0).sum() / some.sum().clamp(min=1)


def cosent(scores: Tensor, grades: Tensor, *, temperature: float) -> Tensor:
    """log(1 + sum of exp((s_j - s_i) / t) over all i of a higher grade than j), scores and grades (n,)."""
    scores, grades = same_precision(scores, grades)
    gaps = (scores[None] - scores[:, None]) / temperature
    wrong = gaps.masked_fill(grades[:, None] <= grades[None], -torch.inf).flatten()
    return F.pad(wrong, (0, 1)).logsumexp(dim=0)


def gathered(scores: Tensor, grades: Tensor, exchange: Exchange) -> tuple[Tensor, Tensor]:
    """Scores and grades of all processes, or of this one alone, (n,)."""
    layout = shards(len(scores), scores.device, exchange)
    return gather(scores, layout), gather(grades, layout)
