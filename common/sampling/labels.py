"""Batches put together by label: classes, pseudo labels, one bound example of each class."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler


class MPerClassSampler(GlobalBatchSampler):
    """Every batch holds `per_class` samples of each of batch_size / per_class classes, all classes equally often.

    A class hands out its samples in a random order and starts over when they are spent, so small classes come up more
    than once an epoch and large ones not entirely; within a batch no sample is twice. Source: Hermans et al. 2017, "PK"
    batches.

    Args:
        labels: class of each sample, integers of shape (n,).
        batch_size: samples in one global batch, a multiple of `per_class`.
        per_class: samples of a class in a batch.
        seed: fixes, together with the epoch, every batch.

    Raises:
        UserError: the batch does not divide into classes, there are too few classes, or a class has too few samples.
    """

    def __init__(self, labels: Tensor, batch_size: int, per_class: int, seed: int = 0) -> None:
        super().__init__(len(labels), batch_size, seed)
        if per_class < 1 or batch_size % per_class:
            raise UserError(f"per_class is {per_class}; it must divide data.batch_size, {batch_size}")
        self.members = members_of(labels)
        self.per_class = per_class
        if len(self.members) * per_class < batch_size:
            raise UserError(
                f"data.batch_size is {batch_size}; {per_class} samples of {len(self.members)} classes do not fill it"
            )
        smallest = min(map(len, self.members))
        if smallest < per_class:
            raise UserError(f"per_class is {per_class}; the smallest class has {smallest} samples")

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        queues = [rng.permutation(members) for members in self.members]
        next_of = np.zeros(len(queues), dtype=int)
        for _ in range(len(self)):
            batch = []
            for label in rng.choice(len(queues), self.batch_size // self.per_class, replace=False):
                if next_of[label] + self.per_class > len(queues[label]):
                    queues[label], next_of[label] = rng.permutation(self.members[label]), 0
                batch.extend(queues[label][next_of[label] : next_of[label] + self.per_class])
                next_of[label] += self.per_class
            yield batch


class DistinctLabelSampler(GlobalBatchSampler):
    """Batches in which no two samples share a (pseudo) label, so that fewer negatives are false.

    An epoch has as many batches as the labels allow without a repeat, and draws no sample twice; of a large label it
    leaves out what would have to meet itself. G-SimCLR (Chakraborty et al. 2020) sorts by rank within the cluster
    instead, in one order for all epochs, and its later batches hold several samples of a cluster.

    Args:
        labels: label of each sample, such as the cluster of its features, integers of shape (n,).
        batch_size: samples in one global batch.
        seed: fixes, together with the epoch, every batch.
        repeats: makes floor(n / batch_size) batches instead and spreads each label over them as evenly as can be.

    Raises:
        UserError: without repeats, there are fewer labels than samples in a batch.
    """

    def __init__(self, labels: Tensor, batch_size: int, seed: int = 0, *, repeats: bool = False) -> None:
        super().__init__(len(labels), batch_size, seed)
        self.members = members_of(labels)
        self.repeats = repeats
        if not repeats and len(self.members) < batch_size:
            raise UserError(
                f"data.batch_size is {batch_size}; {len(self.members)} labels do not fill it without a repeat"
            )
        counts = np.array([len(members) for members in self.members])
        batches = self.size // batch_size
        # t batches without a repeat exist exactly if the labels, none giving more than t samples, fill them.
        while not repeats and np.minimum(counts, batches).sum() < batches * batch_size:
            batches -= 1
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        batches, limit = len(self), self.size if self.repeats else len(self)
        order = rng.permutation(len(self.members))
        pool = np.concatenate([rng.permutation(self.members[label])[:limit] for label in order])
        kept = np.sort(rng.choice(len(pool), batches * self.batch_size, replace=False))
        yield from dealt(pool[kept], self.batch_size, rng)


class BatchBindingSampler(GlobalBatchSampler):
    """One fixed sample of each class is in every batch; the others are shuffled over the batches.

    Bound samples tie all batches together, so that their optimum is that of the full batch (Kini et al. 2024,
    "batch-binding").

    Args:
        labels: class of each sample, integers of shape (n,).
        batch_size: samples in one global batch, the bound ones at its end included.
        seed: fixes the bound samples and, together with the epoch, every batch.
        reshuffle: False repeats the batches of epoch 0.

    Raises:
        UserError: the bound samples leave no room for others.
    """

    def __init__(self, labels: Tensor, batch_size: int, seed: int = 0, *, reshuffle: bool = True) -> None:
        super().__init__(len(labels), batch_size, seed, reshuffle=reshuffle)
        members = members_of(labels)
        if len(members) >= batch_size:
            raise UserError(
                f"data.batch_size is {batch_size}; it must exceed the number of classes, {len(members)}, to bind them"
            )
        rng = np.random.default_rng(seed)
        self.bound = [int(rng.choice(samples)) for samples in members]
        self.others = np.setdiff1d(np.arange(self.size), self.bound)

    def __len__(self) -> int:
        return len(self.others) // (self.batch_size - len(self.bound))

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        order, free = rng.permutation(self.others), self.batch_size - len(self.bound)
        for start in range(0, len(self) * free, free):
            yield [*order[start : start + free], *self.bound]


def dealt(samples: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of samples that stand label by label, so that a label repeats in a batch no more than it must.

    They are dealt out in turn like cards: a label comes to a batch again only after all the others have had it.
    """
    for batch in samples.reshape(batch_size, -1).T:
        yield rng.permutation(batch)


def members_of(labels: Tensor) -> list[np.ndarray]:
    """The positions of each label that occurs."""
    values = labels.cpu().numpy()
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1)
