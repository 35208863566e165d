"""MoCo whose queue spreads the queries over the sphere, in place of being their negatives (appendix B.2)."""

import math

import torch
from torch import Tensor

from common.checks import check_number
from common.distributed import logsumexp_over_processes, shards
from common.losses import alignment, uniformity
from common.scores import Scores
from papers.vision_ssl.moco.module import MoCo


class AlignUniformMoCo(MoCo):
    """A query is drawn to its key, and pushed from the queue and from the other queries, in one mean over all pairs.

    Args:
        align_weight, uniform_weight: of the two losses.
        alpha: exponent of the distance between a query and its key.
        t: sharpness of the potential.
        in_batch: the pairs of two queries count too.
        moco: the other arguments of `MoCo`; the temperature is not used.
    """

    def __init__(
        self,
        *,
        align_weight: float = 3.0,
        uniform_weight: float = 1.0,
        alpha: float = 2.0,
        t: float = 3.0,
        in_batch: bool = True,
        **moco,
    ) -> None:
        super().__init__(**moco)
        check_number("model.align_weight", align_weight, least=0)
        check_number("model.uniform_weight", uniform_weight, least=0)
        check_number("model.alpha", alpha, above=0)
        check_number("model.t", t, above=0)
        self.align_weight, self.uniform_weight = align_weight, uniform_weight
        self.alpha, self.t, self.in_batch = alpha, t, in_batch

    def contrast(self, queries: Tensor, keys: Tensor, name: str) -> tuple[Tensor, Tensor]:
        query, key = self.network(queries), self.encoded_keys(keys, name)
        pull = alignment(query, key, alpha=self.alpha)
        return self.align_weight * pull + self.uniform_weight * self.spread(query), key

    def spread(self, query: Tensor) -> Tensor:
        """The log of the mean potential over the pairs of a query and a key of the queue, and of two queries, 0-d.

        The queue is empty at the first step; without `in_batch` there is no pair then, and the value is 0.
        """
        n, queue = shards(len(query), query.device).total, self.queue.keys
        sums, pairs = [], 0
        if len(queue):
            scores = Scores(query, queue, scale=2 * self.t)  # |q - k|^2 = 2 - 2 q.k
            sums.append(logsumexp_over_processes(scores.logsumexp(dim=1).logsumexp(dim=0)) - 2 * self.t)
            pairs += n * len(queue)
        if self.in_batch:
            sums.append(uniformity(query, t=self.t) + math.log(n * (n - 1) / 2))
            pairs += n * (n - 1) // 2
        return torch.stack(sums).logsumexp(dim=0) - math.log(pairs) if sums else 0.0 * query.sum()
