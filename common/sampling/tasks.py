"""Batches of one task at a time: from several data sets, or one task after the other."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler


class SingleTaskSampler(GlobalBatchSampler):
    """Every global batch comes from one data set, on all processes; the batches of all data sets are shuffled.

    Each loss then sees the samples it is made for, and negatives exchanged between processes belong to one task. The
    indices count through the data sets one after the other, as `torch.utils.data.ConcatDataset` does. Source: the
    sampler of CoDiEmb (Zhang et al. 2025); an epoch has the sum of floor(size / batch size) batches.

    Args:
        sizes: samples of each data set.
        batch_sizes: samples in one global batch of each data set, or one number for all.
        seed: fixes, together with the epoch, every batch.

    Raises:
        UserError: the lists differ in length, or a data set does not fill a batch.
    """

    def __init__(self, sizes: Sequence[int], batch_sizes: Sequence[int] | int, seed: int = 0) -> None:
        if isinstance(batch_sizes, int):
            batch_sizes = [batch_sizes] * len(sizes)
        if len(sizes) != len(batch_sizes):
            raise UserError(f"batch_sizes has {len(batch_sizes)} entries; there are {len(sizes)} data sets")
        for size, batch_size in zip(sizes, batch_sizes, strict=True):
            if not 1 <= batch_size <= size:
                raise UserError(
                    f"batch_sizes holds {batch_size} for a data set of {size} samples; allowed is 1 to {size}"
                )
        # A number of processes divides the greatest common divisor exactly if it divides every batch size.
        super().__init__(sum(sizes), math.gcd(*batch_sizes), seed)
        self.sizes = list(sizes)
        self.batch_sizes = list(batch_sizes)

    def __len__(self) -> int:
        return sum(size // batch_size for size, batch_size in zip(self.sizes, self.batch_sizes, strict=True))

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        batches, offset = [], 0
        for size, batch_size in zip(self.sizes, self.batch_sizes, strict=True):
            order = offset + rng.permutation(size)
            batches += [order[i : i + batch_size] for i in range(0, size - batch_size + 1, batch_size)]
            offset += size
        return [batches[i] for i in rng.permutation(len(batches))]


class MixedTaskSampler(GlobalBatchSampler):
    """Every global batch holds so many samples of each data set: what `SingleTaskSampler` keeps apart.

    They are spread evenly over the batch, so that each process has its share of each. Indices count as there.

    Args:
        sizes: samples of each data set.
        shares: samples of each in one global batch.
        seed: fixes, together with the epoch, every batch.

    Raises:
        UserError: the lists differ in length, or a data set does not fill its share of a batch.
    """

    def __init__(self, sizes: Sequence[int], shares: Sequence[int], seed: int = 0) -> None:
        if len(sizes) != len(shares):
            raise UserError(f"shares has {len(shares)} entries; there are {len(sizes)} data sets")
        for size, share in zip(sizes, shares, strict=True):
            if not 1 <= share <= size:
                raise UserError(f"shares holds {share} for a data set of {size} samples; allowed is 1 to {size}")
        super().__init__(sum(sizes), sum(shares), seed)
        self.sizes, self.shares = list(sizes), list(shares)

    def __len__(self) -> int:
        return min(size // share for size, share in zip(self.sizes, self.shares, strict=True))

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        starts = np.cumsum([0, *self.sizes[:-1]])
        orders = [start + rng.permutation(size) for start, size in zip(starts, self.sizes, strict=True)]
        places = np.concatenate([(np.arange(share) + 0.5) / share for share in self.shares]).argsort(kind="stable")
        for at in range(len(self)):
            parts = [order[at * share : (at + 1) * share] for order, share in zip(orders, self.shares, strict=True)]
            yield np.concatenate(parts)[places]


class TaskSequenceSampler(GlobalBatchSampler):
    """One task after the other: all batches of the first, then all of the second; no task comes back.

    An epoch is the whole sequence, so a run has one. Class-incremental learning as in CaSSLe (Fini et al. 2022).

    Args:
        tasks: the task of each sample, numbers from 0 without a gap, integers of shape (n,).
        batch_size: samples in one global batch, all of one task.
        seed: fixes, together with the epoch, every batch.
        passes: over the samples of a task before the next begins, each in a new order.

    Raises:
        UserError: a task does not fill a batch, a number between is missing, or `passes` is below 1.
    """

    def __init__(self, tasks: Tensor, batch_size: int, seed: int = 0, *, passes: int = 1) -> None:
        super().__init__(len(tasks), batch_size, seed)
        if passes < 1:
            raise UserError(f"data.task_epochs is {passes}; it must be at least 1")
        numbers = tasks.cpu().numpy()
        self.members = [np.flatnonzero(numbers == task) for task in range(int(numbers.max()) + 1)]
        self.passes = passes
        smallest = min(map(len, self.members))
        if smallest < batch_size:
            raise UserError(f"data.batch_size is {batch_size}; the smallest task has {smallest} samples")

    @property
    def starts(self) -> list[int]:
        """The position, from 0, of the first batch of each task."""
        counts = [self.passes * (len(members) // self.batch_size) for members in self.members]
        return [sum(counts[:task]) for task in range(len(counts))]

    def __len__(self) -> int:
        return self.passes * sum(len(members) // self.batch_size for members in self.members)

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        for members in self.members:
            for _ in range(self.passes):
                order = rng.permutation(members)
                for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                    yield order[start : start + self.batch_size]


class PartLastSampler(GlobalBatchSampler):
    """So many batches of all samples, then so many of a part of them: pre-training, and tuning on what has labels.

    An epoch is both, so a run has one; another would be batches of the part alone. What is left of a pass over the
    samples and does not fill a batch is left out.

    Args:
        size: number of samples.
        part: the positions of those that come last, integers of shape (m,).
        batch_size: samples in one global batch.
        seed: fixes, together with the epoch, every batch.
        whole_batches, part_batches: how many of each; the first may be none.

    Raises:
        UserError: the part does not fill a batch, or a number of batches is out of range.
    """

    def __init__(
        self, size: int, part: Tensor, batch_size: int, seed: int = 0, *, whole_batches: int, part_batches: int
    ) -> None:
        super().__init__(size, batch_size, seed)
        if len(part) < batch_size:
            raise UserError(f"data.batch_size is {batch_size}; the part that comes last has {len(part)} samples")
        if whole_batches < 0 or part_batches < 1:
            raise UserError(f"{whole_batches} and {part_batches} batches: expected at least 0 and at least 1")
        self.part, self.whole_batches, self.part_batches = part.cpu().numpy(), whole_batches, part_batches

    def __len__(self) -> int:
        return (self.whole_batches if self.epoch == 0 else 0) + self.part_batches

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        for members, count in ((np.arange(self.size), len(self) - self.part_batches), (self.part, self.part_batches)):
            order = members[:0]
            for _ in range(count):
                order = order if len(order) >= self.batch_size else rng.permutation(members)
                yield order[: self.batch_size]
                order = order[self.batch_size :]
