"""A smooth bound of 1 - AUC: every positive score of the batch against every negative score of the batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from common.distributed import Exchange, gather, shards, sum_over_processes
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores
from common.tiled.tiles import slices

_TILE = 64  # negatives by row and by column in one block, compared with as many positives at a time
_POSITIVES = 256


def _in_batch(n: int, seed: int) -> Example:
    return examples.query_key(n, seed)


def _hard(n: int, seed: int) -> Example:
    draw = examples.generator(seed + 1)
    example = examples.query_key(n, seed)
    embeddings = {**example.embeddings, "negatives": examples.unit(draw, n, 2)}

    def call(function: Callable[..., Tensor], negatives: Tensor, **rest) -> Tensor:
        return function(negatives=negatives.flatten(0, 1), **rest)

    return Example(embeddings, shared=example.shared, call=call)


@loss(_in_batch, _hard, needs=Needs.ROWS)
def mann_whitney(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor,
    negatives: Tensor | None = None,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Puts every positive score above every negative score, across queries, so that one threshold serves them all.

    mean over i and over (k, j) in N of softplus(s_kj - s_ii), s_ij = q_i k_j / t, N all pairs of a query and a key that
    is not its own. InfoNCE compares scores of one query only, and is blind to an offset added to all of them.

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d); key i is the positive of query i, and a negative of all others.
        temperature: number or 0-d tensor (learnable).
        negatives: (h, d), further passages, negatives of every query.
        exchange: which scores meet on several processes; not RING.

    Returns:
        The mean over all comparisons, of all processes. The paper sums over N instead, which is this times the size of
        N; it is the mean that bounds 1 - AUC <= loss / log 2. Comparisons are cubic in the batch, memory is linear.

    Relations: `info_nce` compares within a query by a softmax; restricted to a query's own negatives this would be the
    pairwise logistic loss of RankNet.

    Source: Sheikholeslami et al. 2025, eq. 3 and lemma 2.
    """
    keys = key if negatives is None else torch.cat([key, negatives])
    scores = Scores(query, keys, scale=1 / temperature, exchange=exchange)
    positives = gather(scores.diagonal(), shards(len(query), query.device, exchange))
    others = scores.exclude(scores.own())
    # Each block is computed again on the way back: what is kept are the embeddings.
    total = sum(
        checkpoint(_block, others, positives, rows, columns, use_reentrant=False)
        for rows in slices(0, scores.shape[0], _TILE)
        for columns in slices(0, scores.shape[1], _TILE)
    )
    if exchange is not Exchange.LOCAL:
        total = sum_over_processes(total)
    queries = len(positives)
    return total / (queries * (queries * scores.shape[1] - queries))


def _block(scores: Scores, positives: Tensor, rows: slice, columns: slice) -> Tensor:
    negative = scores.tile(rows, columns).flatten()
    parts = (F.softplus(negative[:, None] - some).sum() for some in positives.split(_POSITIVES))
    return torch.stack(list(parts)).sum()
