"""Retrieval: how far down the gallery the right answer stands, counted a block of queries at a time.

The rank of a positive is one more than the number of negatives that score at least as high. Counting needs no sort and
no matrix of all scores: a block of rows lives only until it is counted, so memory is O(block) + O(embeddings).

Ties count against the method. A collapsed encoder, which scores everything alike, gets the worst rank and not the best.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from common.benchmark import Metrics
from common.checks import check_ids, check_number
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import Products, embeddings, scoring

BLOCK = 1 << 24
"""Scores held at a time: 64 MB of float32."""

Positives = Callable[[slice], tuple[Tensor, Tensor]]
"""Given a slice of the queries, the pairs (row within the slice, column) that are right, each pair once."""


def same_id(query_ids: Tensor, key_ids: Tensor) -> Positives:
    """A key is right for a query if their ids are equal: captions of one picture, pictures of one class.

    Args:
        query_ids: integers of shape (n,).
        key_ids: integers of shape (m,).

    Raises:
        UserError: ids are no integers, or have another shape.
    """
    return _SameId(query_ids, key_ids)


class _SameId:
    """See `same_id`. Keeps the ids, so that their number can be held against that of the queries and keys."""

    def __init__(self, query_ids: Tensor, key_ids: Tensor) -> None:
        self.query_ids, self.key_ids = query_ids, key_ids
        self.check(query_ids.numel(), key_ids.numel())
        self._sorted, self._order = key_ids.sort(stable=True)

    def check(self, queries: int, keys: int) -> None:
        check_ids("query_ids", self.query_ids, queries)
        check_ids("key_ids", self.key_ids, keys)

    def __call__(self, rows: slice) -> tuple[Tensor, Tensor]:
        ids = self.query_ids[rows].contiguous()
        first = torch.searchsorted(self._sorted, ids)
        counts = torch.searchsorted(self._sorted, ids, right=True) - first
        row = torch.arange(len(ids), device=ids.device).repeat_interleave(counts)
        within = torch.arange(len(row), device=ids.device) - (counts.cumsum(0) - counts)[row]
        return row, self._order[first[row] + within]


def listed(pairs: Tensor) -> Positives:
    """A key is right for a query where the two are paired: relevance judgements, equal captions of several pictures.

    Args:
        pairs: (query, key), int64 of shape (p, 2), each pair once.
    """
    pairs = pairs[pairs[:, 0].argsort(stable=True)]
    queries = pairs[:, 0].contiguous()

    def right(rows: slice) -> tuple[Tensor, Tensor]:
        ends = torch.searchsorted(queries, torch.tensor([rows.start, rows.stop], device=queries.device))
        row, column = pairs[int(ends[0]) : int(ends[1])].unbind(1)
        return row - rows.start, column

    return right


def similar(query: Tensor, key: Tensor, threshold: float) -> Positives:
    """A key is right if its similarity to the query, by other embeddings than those scored, reaches a threshold.

    The protocol "all with threshold" of TMR (Petrovich et al. 2023), where near-identical captions count as correct.
    Its recall@1 with features of the place instead of the caption is the hit rate of cross-view localisation.

    Args:
        query: shape (n, e), normalized for a threshold on the cosine.
        key: shape (m, e).
        threshold: least dot product of a right pair.
    """

    similarity = Products(embeddings("query", query), embeddings("key", key))

    @scoring()
    def pairs(rows: slice) -> tuple[Tensor, Tensor]:
        row, column = (similarity(rows) >= threshold).nonzero(as_tuple=True)
        return row, column

    return pairs


class _Block(NamedTuple):
    """Some queries against the whole gallery. Scores of positives are taken out and replaced by -inf."""

    rows: slice
    scores: Tensor
    """Of negatives, shape (rows, m)."""
    row: Tensor
    """Row of each positive pair, shape (pairs,)."""
    positive: Tensor
    """Score of each positive pair, shape (pairs,)."""


def _blocks(query: Tensor, key: Tensor, positives: Positives | None, exclude_self: bool) -> Iterator[_Block]:
    query, key = embeddings("query", query), embeddings("key", key)
    if positives is None:
        if len(query) != len(key):
            raise UserError(f"{len(query)} queries and {len(key)} keys do not pair up by position; name the positives")
        position = torch.arange(len(query), device=query.device)
        positives = same_id(position, position)
    if isinstance(positives, _SameId):
        positives.check(len(query), len(key))
    products = Products(query, key)
    size = max(1, min(len(query), BLOCK // len(key)))
    buffer = torch.empty(size, len(key), device=query.device)
    for start in range(0, len(query), size):
        rows = slice(start, min(start + size, len(query)))
        scores = products(rows, out=buffer[: rows.stop - start])
        row, column = positives(rows)
        if exclude_self:
            scores.diagonal(start).fill_(-torch.inf)
            other = row + start != column
            row, column = row[other], column[other]
        # The positives' scores come out of the same product as the negatives': equal vectors give equal scores.
        positive = scores[row, column]
        scores[row, column] = -torch.inf
        found = torch.zeros(len(scores), dtype=torch.bool, device=row.device)
        found[row] = True
        if not found.all():
            missing = start + int((~found).nonzero()[0])
            raise UserError(f"query {missing} has no positive among the {len(key)} keys; leave it out of the queries")
        yield _Block(rows, scores, row, positive)


@scoring()
def best_ranks(query: Tensor, key: Tensor, positives: Positives | None = None, *, exclude_self: bool = False) -> Tensor:
    """Rank of each query's best positive, from 1, int64 of shape (n,).

    Args:
        query: shape (n, d); scores are dot products, so normalize for the cosine.
        key: the gallery, shape (m, d).
        positives: which keys are right; by default the key at the query's own position.
        exclude_self: query and key are one set, and nothing may retrieve itself.

    Raises:
        UserError: embeddings are not finite, ids are not one for each query and key, or a query has no positive.
    """
    ranks = torch.empty(len(query), dtype=torch.int64, device=query.device)
    for rows, scores, row, positive in _blocks(query, key, positives, exclude_self):
        best = scores.new_full((len(scores), 1), -torch.inf)
        best.view(-1).scatter_reduce_(0, row, positive, "amax")
        # In place and as float: several times faster than a sum over booleans, and exact up to 2^24 keys.
        ranks[rows] = 1 + scores.ge_(best).sum(1).long()
    return ranks


def retrieval_metrics(
    query: Tensor,
    key: Tensor,
    positives: Positives | None = None,
    *,
    at: tuple[int, ...] = (1, 5, 10),
    exclude_self: bool = False,
) -> Metrics:
    """What the best positive of each query tells; arguments as in `best_ranks`.

    Returns:
        As `rank_metrics`, each with `/gallery{m}` behind it.
    """
    metrics = rank_metrics(best_ranks(query, key, positives, exclude_self=exclude_self), at)
    return {f"{name}/gallery{len(key)}": value for name, value in metrics.items()}


def rank_metrics(ranks: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> Metrics:
    """What the rank of each query's best positive tells.

    Args:
        ranks: from 1, shape (n,), n at least 1.
        at: cut-offs of the recall, from 1.

    Returns:
        `recall@k` (share of queries with a positive among the first k keys, for each k in `at`), `mrr` (mean reciprocal
        rank) and `log2_rank` (mean binary logarithm of the rank, the lower the better), means over the queries;
        `median_rank`.
    """
    ranks = ranks.double()
    metrics: Metrics = {f"recall@{k}": Mean((ranks <= k).double()) for k in at}
    # The quantile averages the two middle ranks of an even number; torch.median would take the lower.
    metrics |= {"median_rank": float(_median(ranks))}
    return metrics | {"mrr": Mean(ranks.reciprocal()), "log2_rank": Mean(ranks.log2())}


@scoring()
def ranking_metrics(
    query: Tensor, key: Tensor, positives: Positives | None = None, *, at: int = 10, exclude_self: bool = False
) -> Metrics:
    """What all positives of each query tell; arguments as in `best_ranks`. Slower than `retrieval_metrics`.

    Returns:
        `map` (mean average precision over the whole gallery) and `ndcg@{at}` with a gain of 1 for every positive, each
        with `/gallery{m}` behind it; means over the queries. With a single positive a query, `map` is the mean
        reciprocal rank.
    """
    precision, gain = [], []
    for real, rank in _positive_ranks(query, key, positives, exclude_self):
        place = torch.arange(1, real.shape[1] + 1, device=real.device, dtype=torch.float64)
        precision.append(torch.where(real, place / rank, 0.0).sum(1) / real.sum(1))
        discount = (place + 1).log2().reciprocal()
        ideal = torch.where(real & (place <= at), discount, 0.0).sum(1)
        reached = torch.where(real & (rank <= at), (rank + 1).log2().reciprocal(), 0.0).sum(1)
        gain.append(reached / ideal)
    metrics = {"map": Mean(torch.cat(precision)), f"ndcg@{at}": Mean(torch.cat(gain))}
    return {f"{name}/gallery{len(key)}": value for name, value in metrics.items()}


@scoring()
def map_at_r(query: Tensor, key: Tensor, positives: Positives | None = None, *, exclude_self: bool = False) -> Metrics:
    """Average precision of the first R keys alone, R being a query's number of positives; arguments as in `best_ranks`.

    The mean over i from 1 to R of the precision of the first i keys, 0 where the i-th is wrong (Musgrave et al. 2020).
    Unlike `map` it does not ask where the last positives are.

    Returns:
        `map_at_r`, with `/gallery{m}` behind it; the mean over the queries.
    """
    items = []
    for real, rank in _positive_ranks(query, key, positives, exclude_self):
        total = real.sum(1, keepdim=True)
        place = torch.arange(1, real.shape[1] + 1, device=real.device, dtype=torch.float64)
        items.append(torch.where(real & (rank <= total), place / rank, 0.0).sum(1) / total[:, 0])
    return {f"map_at_r/gallery{len(key)}": Mean(torch.cat(items))}


def class_retrieval_metrics(rows: Tensor, labels: Tensor, at: tuple[int, ...] = (1, 5)) -> Metrics:
    """Each row looks for the others of its class among all other rows: metric learning on classes never seen.

    Args:
        rows: shape (n, d); scores are dot products, so normalize for the cosine.
        labels: shape (n,), each class at least twice.
        at: cut-offs of the recall.

    Returns:
        `recall@k`, `mrr` and others of `retrieval_metrics`; `map_at_r`; `map` and `ndcg@10` of `ranking_metrics`, all
        with `/gallery{n}` behind them; means over the rows.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or a row is alone in its class.
    """
    others = same_id(labels, labels)
    return {
        **retrieval_metrics(rows, rows, others, at=at, exclude_self=True),
        **map_at_r(rows, rows, others, exclude_self=True),
        **ranking_metrics(rows, rows, others, exclude_self=True),
    }


def ranking_chance(right: int, total: int, at: tuple[int, ...] = ()) -> Metrics:
    """What a random order is expected to reach where `right` of `total` keys are.

    Returns:
        `recall@k` for each k in `at`, `mrr`, `log2_rank`, `map_at_r` and `map`.
    """
    # The first right key stands at rank k; the chance of it falls from rank to rank by the share of the wrong.
    first, mrr, log_rank, harmonic = right / total, 0.0, 0.0, 0.0
    recall = dict.fromkeys(at, 0.0)
    for rank in range(1, total + 1):
        mrr += first / rank
        log_rank += first * math.log2(rank)
        harmonic += 1 / rank
        for k in at:
            recall[k] += first * (rank <= k)
        first *= max(0, total - rank - right + 1) / max(1, total - rank)
    # Of the k keys above and with a right one, as many of the others are right as anywhere.
    others = (right - 1) / max(1, total - 1)
    within = sum((1 + others * (rank - 1)) / rank for rank in range(1, right + 1))
    return {
        **{f"recall@{k}": value for k, value in recall.items()},
        "mrr": mrr,
        "log2_rank": log_rank,
        "map_at_r": within / total,
        "map": others + (1 - others) * harmonic / total,
    }


@scoring()
def hit_metrics(
    query: Tensor, key: Tensor, positives: Positives | None = None, *, at: tuple[int, ...] = (1, 5, 20)
) -> Metrics:
    """How many of the first keys are right; arguments as in `best_ranks`.

    Returns:
        `precision@k` (the share of the first k keys that are positives) and `recall_of_all@k` (the share of a query's
        positives that are among them), for each k in `at`, each with `/gallery{m}` behind it; means over the queries.
    """
    found, share = ({k: [] for k in at} for _ in range(2))
    for real, rank in _positive_ranks(query, key, positives, exclude_self=False):
        for k in at:
            hits = (real & (rank <= k)).sum(1).double()
            found[k].append(hits / k)
            share[k].append(hits / real.sum(1))
    metrics = {f"precision@{k}": Mean(torch.cat(items)) for k, items in found.items()}
    metrics |= {f"recall_of_all@{k}": Mean(torch.cat(items)) for k, items in share.items()}
    return {f"{name}/gallery{len(key)}": value for name, value in metrics.items()}


def _positive_ranks(
    query: Tensor, key: Tensor, positives: Positives | None, exclude_self: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """For blocks of queries: the ranks of all positives, best first, as float64 (r, p), and which of them are real."""
    for _, scores, row, positive in _blocks(query, key, positives, exclude_self):
        counts = row.bincount(minlength=len(scores))
        if (row[1:] < row[:-1]).any():
            order = row.argsort(stable=True)
            row, positive = row[order], positive[order]
        # Descending scores of each row's positives, padded at the end: the j-th has j - 1 positives above it.
        slot = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        threshold = scores.new_full((len(scores), int(counts.max())), torch.inf)
        threshold[row, slot] = -positive
        threshold = -_sorted_rows(threshold)
        place = torch.arange(1, threshold.shape[1] + 1, device=row.device, dtype=torch.float64)
        yield place <= counts[:, None], _at_least(scores, threshold) + place


@scoring()
def pooled_auc(query: Tensor, key: Tensor, positives: Positives | None = None, *, hardest: int = 100) -> float:
    """Whether one threshold on the score tells right from wrong for all queries alike: the area under one ROC curve.

    All scores of positives are set against the scores of each query's `hardest` best negatives, pooled over the
    queries (Sheikholeslami et al. 2025, with 500). A query whose scores are all high counts against the others, which
    no measure of each query's ranking sees. 0.5 is a coin; the hardest negatives let chance fall far below.

    Args:
        query, key, positives: as in `best_ranks`.
        hardest: negatives of each query, at least 1.

    Raises:
        UserError: as in `best_ranks`; `hardest` is below 1, or there is no negative.
    """
    check_number("hardest", hardest, least=1)
    right, wrong = [], []
    for _, scores, _, positive in _blocks(query, key, positives, exclude_self=False):
        right.append(positive)
        negatives = scores.topk(min(hardest, scores.shape[1])).values
        wrong.append(negatives[negatives > -torch.inf])
    if not sum(map(len, wrong)):
        raise UserError("pooled_auc needs at least one negative; every key is right for every query")
    scores = torch.cat([*right, *wrong])
    labels = torch.zeros(len(scores), dtype=torch.bool)
    labels[: sum(map(len, right))] = True
    return float(roc_auc_score(labels.numpy(), scores.cpu().numpy()))


def both_directions(
    left: Tensor,
    right: Tensor,
    left_ids: Tensor | None = None,
    right_ids: Tensor | None = None,
    *,
    names: tuple[str, str],
    at: tuple[int, ...] = (1, 5, 10),
) -> Metrics:
    """`retrieval_metrics` from left to right and from right to left.

    Args:
        left: shape (n, d).
        right: shape (m, d).
        left_ids, right_ids: equal ids are positives of each other; by default the positions.
        names: of the two sides; ("text", "image") gives `text_to_image/recall@1/gallery1000` and its reverse.
        at: cut-offs of the recall.
    """
    there, back = None, None
    for name, ids, side in (("left_ids", left_ids, left), ("right_ids", right_ids, right)):
        if ids is not None:
            check_ids(name, ids, len(side))
    if left_ids is not None and right_ids is not None:
        there, back = same_id(left_ids, right_ids), same_id(right_ids, left_ids)
    elif left_ids is not None or right_ids is not None:
        raise UserError("left_ids and right_ids go together; only one of them was given")
    first, second = names
    return {
        f"{first}_to_{second}/{name}": value for name, value in retrieval_metrics(left, right, there, at=at).items()
    } | {f"{second}_to_{first}/{name}": value for name, value in retrieval_metrics(right, left, back, at=at).items()}


def _median(x: Tensor) -> Tensor:
    ordered = x.sort().values
    return (ordered[(len(x) - 1) // 2] + ordered[len(x) // 2]) / 2


def _at_least(scores: Tensor, threshold: Tensor) -> Tensor:
    """How many scores of its row reach each threshold: (r, m), (r, p) -> float64 (r, p)."""
    if threshold.shape[1] <= 128:
        hits = torch.empty_like(scores)
        columns = [torch.ge(scores, column[:, None], out=hits).sum(1) for column in threshold.unbind(1)]
        return torch.stack(columns, dim=1).double()
    # Where a class is large, one sort costs less than that many sweeps.
    return (scores.shape[1] - torch.searchsorted(_sorted_rows(scores), threshold)).double()


def _sorted_rows(x: Tensor) -> Tensor:
    """Each row ascending. On the CPU by NumPy, whose vectorized sort takes a twentieth of the time of PyTorch's."""
    return torch.from_numpy(np.sort(x.numpy(), axis=1)) if x.device.type == "cpu" else x.sort(dim=1).values
