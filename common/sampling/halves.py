"""Batches of two data sets at once, half of each: labelled beside unlabelled, source beside target."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler


class HalvesSampler(GlobalBatchSampler):
    """Every batch holds as many samples of a first data set as of a second, in turns.

    The indices count through the first set and then the second, as `torch.utils.data.ConcatDataset` does. An epoch
    passes once through the larger half-filled set; the other starts over in a new order when it is spent.

    Args:
        first: samples of the first data set.
        second: samples of the second.
        batch_size: samples in one global batch, an even number.
        seed: fixes, together with the epoch, every batch.

    Raises:
        UserError: the batch is odd, or a data set does not fill its half.
    """

    def __init__(self, first: int, second: int, batch_size: int, seed: int = 0) -> None:
        if batch_size % 2:
            raise UserError(f"data.batch_size is {batch_size}; it must be even, for its halves come from two data sets")
        if min(first, second) < batch_size // 2:
            raise UserError(
                f"data.batch_size is {batch_size}; the smaller of its two data sets has {min(first, second)} samples "
                "and does not fill its half"
            )
        super().__init__(first + second, batch_size, seed)
        self.sizes = (first, second)

    def __len__(self) -> int:
        return max(self.sizes) // (self.batch_size // 2)

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        half = self.batch_size // 2
        first, second = (_endless(size, half, rng) for size in self.sizes)
        for _ in range(len(self)):
            # In turns, because every process takes a contiguous slice and is to get as many of either.
            yield np.stack([next(first), self.sizes[0] + next(second)], axis=1).ravel()


def _endless(size: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`count` indices at a time; within one portion no index is twice."""
    while True:
        order = rng.permutation(size)
        for start in range(0, size - count + 1, count):
            yield order[start : start + count]
