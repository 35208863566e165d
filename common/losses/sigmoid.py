"""Every pair is a yes-or-no question of its own."""

from torch import Tensor

from common.checks import check_embeddings, check_ids
from common.distributed import Exchange, global_ratio
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import above_zero
from common.scores import Scores


def _example(n: int, seed: int) -> Example:
    embeddings = examples.query_key(n, seed).embeddings
    return Example(embeddings, shared={"scale": examples.number(4.0), "bias": examples.number(-2.0)})


def _with_ids(n: int, seed: int) -> Example:
    example = _example(n, seed)
    return Example(example.embeddings, {"ids": examples.labelled(n, seed).samples["labels"]}, example.shared)


@loss(_example, _with_ids, needs=Needs.KEYS)
def sigmoid_pairwise(
    query: Tensor,
    key: Tensor,
    *,
    scale: float | Tensor,
    bias: float | Tensor,
    ids: Tensor | None = None,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Classifies every pair of the batch as matching or not: the loss of SigLIP.

    With s_ij = scale q_i k_j + bias and y_ij = 1 for a pair, -1 for any other,
    -(1/n) sum_ij log sigmoid(y_ij s_ij).

    Args:
        query, key: (n, d), normalized by the caller; key i is the positive of query i.
        scale: 1 / temperature, number or 0-d tensor; the paper starts at 10.
        bias: number or 0-d tensor; the paper starts at -10, since almost all pairs are negative.
        ids: int (n,); every key with the query's id is a positive.
        exchange: which keys a query meets on several processes; RING is the paper's.

    Returns:
        The sum over all pairs divided by the number of queries, over all processes.

    Raises:
        UserError: the scale is not above 0, a query has no key of its own, or the ids do not fit the queries.

    Relations: unlike `symmetric_info_nce` no pair competes with another, so the loss is symmetric as it stands.

    Source: Zhai et al. 2023 (SigLIP), eq. 1 and algorithm 1.
    """
    scale = above_zero("scale", scale)
    check_embeddings(query=query, key=key)
    if len(key) < len(query):
        raise UserError(f"{len(query)} queries and {len(key)} keys: a query has no key of its own")
    if ids is not None:
        check_ids("ids", ids, len(query))
    scores = Scores(query, key, scale=scale, bias=bias, exchange=exchange)
    total = scores.softplus_total(own_positive=ids is None)
    if ids is not None:
        # softplus(-s) = softplus(s) - s: every pair as a negative, then the positives mended, so no mask is needed.
        total = total - scores.positives(ids, ids).total.sum()
    return global_ratio(total, len(query))
