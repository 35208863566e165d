"""What a query's positive is told from: the four denominators that the paper compares."""

from typing import Literal

import torch
from torch import Tensor

from common.distributed import Exchange, global_mean
from common.losses.precision import same_precision
from common.sampling.mining import FalseNegatives
from common.scores import Scores

Denominator = Literal["hard", "gemini", "gecko", "qwen3"]
ABOVE = 0.1
"""Qwen3 leaves out of its denominator what scores this much above the positive: likely another positive."""


def contrast(
    query: Tensor,
    positive: Tensor,
    hard: Tensor,
    *,
    temperature: float,
    ids: Tensor,
    denominator: Denominator = "hard",
    where: Tensor | None = None,
) -> Tensor:
    """-log of exp(q d+ / t) over the sum of it and of the negatives' exp(. / t), the mean over the queries.

    Args:
        query, positive: (n, d), normalized.
        hard: the mined negatives of each query, (n, h, d).
        temperature: t.
        ids: of what a pair says, (n,): nothing with the query's id is a negative, mined ones apart.
        denominator: "hard", the query's own mined negatives alone; "gemini", with the batch's other positives; "gecko",
            with its other queries too; "qwen3", also the positive against the batch's other positives and all mined
            negatives, and without what scores 0.1 above the query's positive.
        where: bool (n,), queries that count; all by default. The others stay negatives.

    Returns:
        The mean over the queries of all processes.
    """
    query, positive, hard = same_precision(query, positive, hard)
    same = (query * positive).sum(dim=1)
    own = torch.einsum("nd,nhd->nh", query, hard)
    limit = same + ABOVE if denominator == "qwen3" else None
    if limit is not None:
        own = own.masked_fill(own > limit.detach()[:, None], -torch.inf)
    terms = [same[:, None] / temperature, own / temperature]
    sides = {"hard": (), "gemini": ((query, positive),)}.get(denominator, ((query, positive), (query, query)))
    if denominator == "qwen3":
        sides = (*sides, (positive, positive))
    for one, other in sides:
        scores = Scores(one, other, scale=1 / temperature, exchange=Exchange.GATHER)
        scores = scores.exclude(scores.equal(ids, ids))
        if limit is not None:
            scores = scores.exclude(FalseNegatives.by_threshold(one, other, limit))
        terms.append(scores.logsumexp(dim=1)[:, None])
    if limit is not None:
        # No mined negative is anybody's own: each may be the answer to another query.
        scores = Scores(positive, hard.flatten(0, 1), scale=1 / temperature, exchange=Exchange.GATHER)
        close = FalseNegatives.by_threshold(positive, hard.flatten(0, 1), limit)
        close = close._replace(own=torch.full_like(close.own, -1))
        terms.append(scores.exclude(close).logsumexp(dim=1)[:, None])
    return global_mean(torch.cat(terms, dim=1).logsumexp(dim=1) - terms[0][:, 0], where)
