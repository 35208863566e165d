"""Batches as the theory of latent classes has them: groups of samples that share a class nobody names."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler
from common.sampling.labels import members_of


class LatentClassSampler(GlobalBatchSampler):
    """Every batch is a row of groups; a group's class is drawn as often as it occurs, its samples out of that class.

    All draws are independent and with replacement: two groups are of one class with the probability sum_c rho(c)^2,
    rho(c) the share of class c, and a sample may be its own like. So the batch of a contrastive loss is one of the
    empirical distribution, collisions included, and the bounds hold without a correction. Source: Arora et al. 2019,
    section 2.

    Args:
        labels: class of each sample, integers of shape (n,).
        batch_size: samples in one global batch, a multiple of `per_group`.
        per_group: samples of a class that stand side by side in a batch.
        seed: fixes, together with the epoch, every batch.

    Raises:
        UserError: the batch does not divide into groups.
    """

    def __init__(self, labels: Tensor, batch_size: int, per_group: int, seed: int = 0) -> None:
        super().__init__(len(labels), batch_size, seed)
        if per_group < 1 or batch_size % per_group:
            raise UserError(f"{per_group} samples in a group; it must divide data.batch_size, {batch_size}")
        self.per_group = per_group
        self.members = members_of(labels)
        self.shares = np.array([len(members) for members in self.members]) / len(labels)

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        for _ in range(len(self)):
            drawn = rng.choice(len(self.members), self.batch_size // self.per_group, p=self.shares)
            yield np.concatenate([rng.choice(self.members[label], self.per_group) for label in drawn]).tolist()
