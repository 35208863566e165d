"""Margin losses on pairs: the hinge over all negatives, and on the hardest one."""

import torch
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores


def _hardest(n: int, seed: int) -> Example:
    return Example(examples.query_key(n, seed).embeddings, shared={"margin": 0.3})


def _all(n: int, seed: int) -> Example:
    return Example(examples.query_key(n, seed).embeddings, shared={"margin": 0.3, "hardest": False})


def _one_way_with_ids(n: int, seed: int) -> Example:
    ids = torch.randint(max(2, n // 2), (n,), generator=examples.generator(seed))
    embeddings = examples.query_key(n, seed).embeddings
    return Example(embeddings, {"ids": ids}, {"margin": 0.3, "symmetric": False})


def _hard(n: int, seed: int) -> Example:
    """Two hard negatives a query, the hardest of all candidates alone, one way."""
    embeddings = examples.query_key(n, seed).embeddings
    hard = examples.unit(examples.generator(seed + 1), n, 2)
    return Example({**embeddings, "hard_negatives": hard}, shared={"margin": 0.3, "symmetric": False})


@loss(_hardest, _all, _one_way_with_ids, _hard, needs=Needs.ROWS)
def pairwise_hinge(
    query: Tensor,
    key: Tensor,
    *,
    margin: float,
    ids: Tensor | None = None,
    hard_negatives: Tensor | None = None,
    hardest: bool = True,
    symmetric: bool = True,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Lets a pair score higher than its negatives by a margin; by default only the hardest negative counts.

    mean_i [ max_{j != i} [m + s_ij - s_ii]_+ + max_{j != i} [m + s_ji - s_ii]_+ ], s_ij = q_i k_j; the max becomes a
    sum with hardest=False, and the second term goes with symmetric=False.

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d); key i is the positive of query i.
        margin: in units of the score, at least 0.
        ids: int (n,); a pair of equal ids is no negative.
        hard_negatives: (n, h, d), further candidates of every query, n h of them; a key never meets them.
        hardest: the hardest negative only (VSE++), or all of them (VSE).
        symmetric: add the way from key to query. The two ways are added, not averaged.
        exchange: which keys a query meets on several processes; not RING.

    Returns:
        The mean over the queries of all processes. VSE++ sums over the batch instead.

    Raises:
        UserError: the margin is below 0, or the ids or the hard negatives do not fit the queries.

    Relations: t times `info_nce` one way at temperature t tends to this at margin 0 as t -> 0.

    Source: Faghri et al. 2018 (VSE++), max of hinges; the sum of hinges is their baseline VSE. One way with hard
    negatives: the energy-based hinge of PromCSE, Jiang et al. 2022.
    """
    check_number("margin", margin, least=0)
    check_embeddings(same_rows=symmetric, query=query, key=key)
    if ids is not None:
        check_ids("ids", ids, len(query))
    if hard_negatives is not None:
        if hard_negatives.ndim != 3 or len(hard_negatives) != len(query):
            given = tuple(hard_negatives.shape)
            raise UserError(f"hard_negatives {given}: expected ({len(query)}, h, {query.shape[1]})")
        check_embeddings(query=query, hard_negatives=hard_negatives.flatten(0, 1))
    total = _one_way(query, key, margin, ids, hard_negatives, hardest, exchange)
    if symmetric:
        total = total + _one_way(key, query, margin, ids, None, hardest, exchange)
    return global_mean(total)


def _one_way(
    query: Tensor,
    key: Tensor,
    margin: float,
    ids: Tensor | None,
    hard: Tensor | None,
    hardest: bool,
    exchange: Exchange,
) -> Tensor:
    scores = Scores(query, key, exchange=exchange)
    positive = scores.diagonal()
    negatives = [scores.exclude(scores.own() if ids is None else scores.equal(ids, ids))]
    if hard is not None:
        negatives.append(Scores(query, hard.flatten(0, 1), exchange=exchange))
    if hardest:
        # A query without any negative has a best score of -inf: the hinge is 0, and so is its gradient.
        best = torch.stack([found.topk(1)[0][:, 0] for found in negatives]).max(dim=0).values
        return torch.relu(margin + best - positive)
    hinges = [found.sum(lambda s, own: torch.relu(margin + s - own), rows=(positive,)) for found in negatives]
    return torch.stack(hinges).sum(dim=0)
