"""Batches of samples of about one length, so that little of a batch is padding."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from common.sampling.batches import GlobalBatchSampler


class SimilarLengthSampler(GlobalBatchSampler):
    """Cuts a random order into windows of several batches, sorts each window by length, and shuffles the batches.

    With in-batch negatives this also decides who meets whom: length alone then tells little, as in fairseq's batches.

    Args:
        lengths: frames, samples or tokens of each sample, integers of shape (n,).
        batch_size: samples in one global batch.
        seed: fixes, together with the epoch, every batch.
        window: batches that are sorted together; 1 is the plain order, many batches leave little to chance.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int = 0, window: int = 8) -> None:
        super().__init__(len(lengths), batch_size, seed)
        self.lengths = lengths.numpy()
        self.window = window

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        order = rng.permutation(self.size)[: len(self) * self.batch_size]
        span = self.window * self.batch_size
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        by_length = np.concatenate([one[self.lengths[one].argsort(kind="stable")] for one in windows])
        batches = by_length.reshape(len(self), self.batch_size)
        yield from batches[rng.permutation(len(batches))]
