"""Negatives from a queue of past keys alone."""

import torch
from torch import Tensor

from common.checks import check_embeddings
from common.distributed import global_mean
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores


def _example(n: int, seed: int) -> Example:
    example = examples.query_key(n, seed)
    return Example(
        example.embeddings, shared={**example.shared, "queue": examples.unit(examples.generator(seed), 2 * n)}
    )


@loss(_example, needs=Needs.NOTHING)
def queue_info_nce(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float | Tensor) -> Tensor:
    """Makes each query tell its key from a queue of earlier keys, with no negatives in the batch: the loss of MoCo.

    mean_i [ log( exp(q_i k_i / t) + sum_u exp(q_i u / t) ) - q_i k_i / t ].

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d), usually from the momentum encoder and without a gradient.
        queue: (u, d), the same on all processes; treated as a constant.
        temperature: number, 0-d tensor (learnable) or (n,), one for each query.

    Returns:
        The mean over the queries of all processes.

    Raises:
        UserError: the temperature is not above 0, or shapes do not fit.

    Relations: `info_nce` with `queue` takes negatives from the batch as well.

    Source: He et al. 2020 (MoCo), eq. 1 and algorithm 1.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    scale = inverse(temperature, rows=len(query))
    positive = Scores(query, key, scale=scale).diagonal()
    negatives = Scores(query, queue.detach(), scale=scale).logsumexp(dim=1)
    return global_mean(torch.logaddexp(positive, negatives) - positive)
