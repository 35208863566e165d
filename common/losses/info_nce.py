"""InfoNCE between queries and keys: one way, both ways, against a queue."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores


class HardNegatives(NamedTuple):
    """Extra negatives that come with each query.

    Attributes:
        key: (n, h, d), normalized like the keys.
        scope: "own": a query meets its own h negatives. "all": it meets those of every query, n h of them.
        log_weight: added to the logits of a query's own negatives, the log of how often each counts; -inf leaves them
            out.
    """

    key: Tensor
    scope: Literal["own", "all"] = "all"
    log_weight: float = 0.0


def _with_ids(n: int, seed: int) -> Example:
    example = examples.query_key(n, seed)
    ids = torch.randint(max(2, n // 2), (n,), generator=examples.generator(seed))
    return Example(example.embeddings, {"ids": ids}, {**example.shared, "label_smoothing": 0.1})


def _ignoring(n: int, seed: int) -> Example:
    example = examples.query_key(n, seed)
    ignored = torch.randint(max(2, n // 2), (n,), generator=examples.generator(seed))
    temperature = 0.1 + torch.rand(n, generator=examples.generator(seed), dtype=torch.float64)
    return Example(example.embeddings, {"ignore_ids": ignored, "temperature": temperature}, {"margin": 0.3})


def _hard(scope: Literal["own", "all"], n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    embeddings = {"query": examples.unit(draw, n), "key": examples.unit(draw, n), "hard": examples.unit(draw, n, 2)}

    def call(function: Callable[..., Tensor], hard: Tensor, **rest) -> Tensor:
        return function(hard_negatives=HardNegatives(hard, scope, 0.7), **rest)

    queue = examples.unit(draw, 6)
    return Example(embeddings, shared={"temperature": examples.number(0.2), "queue": queue}, call=call)


def _hard_own(n: int, seed: int) -> Example:
    """Each query's own hard negatives, and a queue."""
    return _hard("own", n, seed)


def _hard_all(n: int, seed: int) -> Example:
    """Everybody's hard negatives, one's own weighted, and a queue."""
    return _hard("all", n, seed)


@loss(examples.query_key, _with_ids, _ignoring, _hard_own, _hard_all, needs=Needs.KEYS)
def info_nce(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor,
    ids: Tensor | None = None,
    ignore_ids: Tensor | None = None,
    hard_negatives: HardNegatives | None = None,
    queue: Tensor | None = None,
    log_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    margin: float = 0.0,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes each query find its key among all keys of the batch.

    mean_i [ log sum_j exp(q_i k_j / t) - q_i k_i / t ], the cross-entropy of query i against its own key.

    Args:
        query: (n, d), normalized by the caller if the scores are to be cosines.
        key: (n, d); key i is the positive of query i.
        temperature: number, 0-d tensor (learnable) or (n,), one for each query.
        ids: int (n,); every key with the query's id is a positive, and the target is uniform over them.
        ignore_ids: int (n,); a key with the query's id that is not its own is no candidate at all.
        hard_negatives: extra candidates that come with the queries.
        queue: (q, d), extra candidates shared by all queries, the same on all processes; the positive is never there.
        log_weights: (n, all keys), added to the logits of the batch, constant; -inf leaves a pair out.
        label_smoothing: share of the target spread evenly over all keys of the batch, in [0, 1].
        margin: subtracted from the positives' logits.
        exchange: which keys a query meets on several processes.

    Returns:
        The mean over the queries of all processes.

    Raises:
        UserError: options that contradict each other.

    Relations: `symmetric_info_nce` adds the way from key to query; `nt_xent` also takes negatives from the query's own
    view; `sup_con` finds positives by label within one set; `decoupled_nt_xent` leaves the positive out of the sum.

    Source: van den Oord et al. 2018, eq. 4. Hard negatives with scope "all" and `log_weight`: SimCSE, Gao et al. 2021,
    eq. 5 and appendix.
    """
    check_embeddings(query=query, key=key)
    scale = inverse(temperature, rows=len(query))
    scores = Scores(query, key, scale=scale, exchange=exchange)
    options = _check_options(len(query), ids, ignore_ids, label_smoothing, margin)
    further = any(given is not None for given in (hard_negatives, queue, log_weights))
    if not options and not further and len(query) == len(key):
        return scores.own_cross_entropy()
    candidates = _candidates(scores, ids, ignore_ids, label_smoothing, margin)
    if log_weights is not None:
        candidates = candidates.add(log_weights)
    total = candidates.logsumexp(dim=1)
    if hard_negatives is not None:
        total = torch.logaddexp(total, _hard_logsumexp(scores, query, hard_negatives, scale, exchange))
    if queue is not None:
        total = torch.logaddexp(total, Scores(query, queue.detach(), scale=scale).logsumexp(dim=1))
    return global_mean(total - _target(scores, ids, label_smoothing, margin, dim=1))


def _check_options(
    rows: int, ids: Tensor | None, ignore_ids: Tensor | None, label_smoothing: float, margin: float
) -> bool:
    """Whether any of them is given."""
    for name, given in (("ids", ids), ("ignore_ids", ignore_ids)):
        if given is not None:
            check_ids(name, given, rows)
    check_number("margin", margin)
    check_number("label_smoothing", label_smoothing, least=0, most=1)
    if ignore_ids is not None and (ids is not None or label_smoothing):
        raise UserError("ignore_ids: cannot go with ids or label_smoothing, which need the pairs it leaves out")
    return ids is not None or ignore_ids is not None or bool(label_smoothing) or bool(margin)


def _candidates(
    scores: Scores, ids: Tensor | None, ignore_ids: Tensor | None, label_smoothing: float, margin: float
) -> Scores:
    """The logits of the denominator."""
    if margin:
        scores = scores.add(-margin, where=scores.own() if ids is None else scores.equal(ids, ids))
    return scores if ignore_ids is None else scores.exclude(scores.equal(ignore_ids, ignore_ids, own=False))


def _target(scores: Scores, ids: Tensor | None, label_smoothing: float, margin: float, dim: int) -> Tensor:
    """The expected logit under the target distribution, by row (dim 1) or by column (dim 0)."""
    count: float | Tensor = 1.0
    if ids is None:
        target = scores.diagonal() - margin
    else:
        positives = scores.positives(ids, ids, dim)
        target, count = positives.total / positives.count - margin, positives.count
    if label_smoothing:
        everywhere = (scores.total(dim) - margin * count) / scores.shape[1]
        target = torch.lerp(target, everywhere, label_smoothing)
    return target


def _hard_logsumexp(
    scores: Scores, query: Tensor, negatives: HardNegatives, scale: float | Tensor, exchange: Exchange
) -> Tensor:
    """log sum exp of each query with the hard negatives it meets, (n,)."""
    if negatives.key.ndim != 3 or len(negatives.key) != len(query):
        raise UserError(f"hard_negatives {tuple(negatives.key.shape)}: expected ({len(query)}, h, {query.shape[1]})")
    if negatives.scope not in ("own", "all"):
        raise UserError(f"hard_negatives scope '{negatives.scope}': expected 'own' or 'all'")
    if not negatives.log_weight < math.inf:
        raise UserError(f"hard_negatives log_weight {negatives.log_weight}: expected a finite number or -inf")
    n, h, _ = negatives.key.shape
    if negatives.scope == "own":
        ours = Scores(query, negatives.key.flatten(0, 1), scale=scale)
        columns = torch.arange(n * h, device=query.device).view(n, h)
        return ours.pairs(columns).logsumexp(dim=1) + negatives.log_weight
    everybody = Scores(query, negatives.key.flatten(0, 1), scale=scale, exchange=exchange)
    if negatives.log_weight:
        # By global number of the query, not by place: shards may be uneven.
        number = scores.layout.start + torch.arange(n, device=query.device)
        everybody = everybody.add(negatives.log_weight, everybody.equal(number, number.repeat_interleave(h)))
    return everybody.logsumexp(dim=1)


@loss(examples.query_key, _with_ids, _ignoring, needs=Needs.KEYS)
def symmetric_info_nce(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor,
    ids: Tensor | None = None,
    ignore_ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    margin: float = 0.0,
    directions: Literal["mean", "sum"] = "mean",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes each query find its key and each key find its query: the loss of CLIP.

    (L(q, k) + L(k, q)) / 2 with L as in `info_nce`, over one score matrix: rows one way, columns the other. Both are
    reduced in one sweep, at about a third of the time of two cross-entropies and without the matrix.

    Args:
        query, key: (n, d), normalized by the caller; key i and query i are a pair.
        directions: "mean" of the two directions (CLIP) or their "sum".
        temperature, ids, ignore_ids, label_smoothing, margin, exchange: as in `info_nce`. A temperature for each query
            scales that query's scores in both directions.

    Returns:
        The mean over the pairs of all processes.

    Raises:
        UserError: options that contradict each other, queries without a key of their own.

    Source: Radford et al. 2021 (CLIP), figure 3; before it Zhang et al. 2020 (ConVIRT), eq. 2-4.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    if directions not in ("mean", "sum"):
        raise UserError(f"directions '{directions}': expected 'mean' or 'sum'")
    scores = Scores(query, key, scale=inverse(temperature, rows=len(query)), exchange=exchange)
    if not _check_options(len(query), ids, ignore_ids, label_smoothing, margin):
        both = scores.own_cross_entropy((1, 0))
        return both if directions == "sum" else both / 2
    row, column = _candidates(scores, ids, ignore_ids, label_smoothing, margin).logsumexps()
    target = _target(scores, ids, label_smoothing, margin, dim=1)
    if ids is None and not label_smoothing:
        targets = 2 * target
    else:
        targets = target + _target(scores, ids, label_smoothing, margin, dim=0)
    both = global_mean(row + column - targets)
    return both if directions == "sum" else both / 2
