"""A smooth bound of 1 - AUC: every positive score of the batch against every negative score of the batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.checks import check_embeddings
from common.distributed import Exchange, gather, shards, sum_over_processes
from common.losses import examples
from common.losses.precision import same_precision
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.tiled.matrices import Own
from common.tiled.tiles import Edits, Matrix, Tiles, full_precision

_POSITIVES = 4  # compared with a tile at a time: more would leave the cache


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
        N; it is the mean that bounds 1 - AUC <= loss / log 2; 0 where there is nothing to compare, for a single pair.
        Comparisons are cubic in the batch, memory is linear.

    Raises:
        UserError: the temperature is not above 0, or shapes do not fit.

    Relations: `info_nce` compares within a query by a softmax; restricted to a query's own negatives this would be the
    pairwise logistic loss of RankNet.

    Source: Sheikholeslami et al. 2025, eq. 3 and lemma 2.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    if negatives is not None:
        check_embeddings(query=query, negatives=negatives)
    query, key, *further = same_precision(query, key, *([] if negatives is None else [negatives]))
    query, keys = query * inverse(temperature), torch.cat([key, *further]) if further else key
    layout = shards(len(keys), keys.device, exchange)
    positives = gather((query * keys[: len(query)]).sum(dim=1), shards(len(query), query.device, exchange))
    total = _Compare.apply(query, gather(keys, layout), positives, Own(layout.start, query.device))
    if exchange != Exchange.LOCAL:
        total = sum_over_processes(total)
    queries = len(positives)
    return total / max(1, queries * (queries * layout.total - queries))


class _Compare(torch.autograd.Function):
    """The sum over pairs outside `own` and over positives p of softplus(q k - p), recomputed in the backward pass."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, positives: Tensor, own: Matrix) -> Tensor:
        ctx.save_for_backward(query, key, positives)
        ctx.edits = Edits(exclude=(own,))
        total = query.new_zeros(())
        with full_precision(query.device):
            tiles = Tiles(query, ctx.edits)
            for rows, columns, _ in tiles.over(0, key):
                # Excluded pairs are -inf, and cost nothing.
                tile = tiles.masked(rows, columns, key[columns])
                for some in positives.split(_POSITIVES):
                    total += F.softplus(tile - some[:, None, None]).sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, positives = ctx.saved_tensors
        grad_query, grad_key, grad_positives = (torch.zeros_like(x) for x in (query, key, positives))
        with full_precision(query.device):
            tiles = Tiles(query, ctx.edits)
            for rows, columns, _ in tiles.over(0, key):
                tile = tiles.masked(rows, columns, key[columns])
                slope = torch.zeros_like(tile)
                for some, down in zip(positives.split(_POSITIVES), grad_positives.split(_POSITIVES), strict=True):
                    slopes = torch.sigmoid(tile - some[:, None, None])
                    slope += slopes.sum(dim=0)
                    down -= slopes.sum(dim=(1, 2))
                grad_query[rows].addmm_(slope, key[columns])
                grad_key[columns].addmm_(slope.T, query[rows])
        return grad * grad_query, grad * grad_key, grad * grad_positives, None
