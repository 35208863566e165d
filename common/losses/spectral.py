"""Positives alike, and all products of independent samples near 0: the spectral contrastive loss."""

from torch import Tensor

from common.checks import check_embeddings, check_ids
from common.distributed import Exchange, global_mean
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores


def _pairs(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    return Example({"query": 1.5 * examples.unit(draw, n), "key": examples.unit(draw, n)})


def _classes(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(_pairs(n, seed).embeddings, {"ids": example.samples["labels"]})


@loss(_pairs, _classes, needs=Needs.KEYS)
def spectral_contrastive(
    query: Tensor, key: Tensor, *, ids: Tensor | None = None, exchange: Exchange = Exchange.GATHER
) -> Tensor:
    """Factorizes how much likelier two views are of one sample than by chance.

    -2 mean_i mean_{j in P(i)} q_i k_j + mean_{i != j} (q_i k_j)^2, P(i) the key of i alone, or those of its id.

    Args:
        query, key: (n, d), two views of the samples; not normalized, lengths matter.
        ids: int (n,), such as classes; keys of one id are positives of each other. As the second mean is over
            independent samples, they stay in it.
        exchange: which keys a query meets on several processes.

    Returns:
        The mean over the queries of all processes; a single pair has no second term.

    Raises:
        UserError: as many keys as queries, and an id for each, are needed.

    Relations: `common.population.spectral` is its expectation; at best q_i k_j is p(i, j) / p(i) p(j), and the loss
    below -1 by their chi-square information.

    Source: HaoChen et al. 2021, eq. 6.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    scores = Scores(query, key, exchange=exchange)
    if ids is None:
        alike = scores.diagonal()
    else:
        check_ids("ids", ids, len(query))
        positives = scores.positives(ids, ids)
        alike = positives.total / positives.count
    others = max(1, scores.layout.total - 1)
    apart = scores.exclude(scores.own()).sum(lambda s: s.square()) / others
    return global_mean(apart - 2 * alike)
