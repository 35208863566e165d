"""The base of every sampler: global batches, of which each process takes its slice, and a loader that can resume.

Which samples meet in a batch is decided once for all processes: a sampler makes the global batches of an epoch from
(seed, epoch) alone, and rank r of W yields the r-th contiguous slice of each. So a recipe meets the same batches on 1,
2 and 4 processes, no sample is seen twice, and a checkpoint resumes on another number of processes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from common.distributed import rank, world_size
from common.errors import UserError


class GlobalBatchSampler(Sampler[list[int]]):
    """Batches of a seeded permutation; the base of the other samplers, which override `global_batches`.

    Goes into a loader as `batch_sampler`, or as `sampler` with `batch_size=None` where the data set takes whole lists
    of indices. Under Lightning use `ResumableLoader` and `Trainer(use_distributed_sampler=False)`.

    Args:
        size: number of samples.
        batch_size: samples in one global batch, a multiple of the number of processes.
        seed: fixes, together with the epoch, every batch; at least 0.
        drop_last: leaves out the samples that do not fill a batch. Without it the last batch is shorter and its slices
            may differ by one sample; a batch too short to give every process one is left out even then, because a
            process without samples would stall the collectives of the others.
        reshuffle: draws a new order each epoch; False repeats the order of epoch 0.

    Raises:
        UserError: an argument is out of range, no batch can be filled, or (on iteration) `batch_size` does not divide
            by the number of processes.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int = 0, drop_last: bool = True, *, reshuffle: bool = True
    ) -> None:
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1")
        if seed < 0:
            raise UserError(f"data.seed is {seed}; it must be at least 0")
        if drop_last and size < batch_size:
            raise UserError(f"data.batch_size is {batch_size}; there are only {size} samples to fill a batch with")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.reshuffle = reshuffle
        self.epoch = 0
        self.position = 0
        self._start = 0

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        """The global batches of one epoch, in order; `rng` is the only source of chance."""
        order = rng.permutation(self.size)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        """Batches in an epoch, the same on every process."""
        full, rest = divmod(self.size, self.batch_size)
        return full + (not self.drop_last and rest >= world_size())

    def __iter__(self) -> Iterator[list[int]]:
        # Asked here and not in the constructor: the process group exists only once the trainer runs.
        process, world = rank(), world_size()
        if self.batch_size % world:
            raise UserError(f"data.batch_size is {self.batch_size}; it must be a multiple of the {world} processes")
        rng = np.random.default_rng([self.seed, self.epoch if self.reshuffle else 0])
        start, self._start = self._start, 0
        # The skipped batches are drawn too: they advance the generator to where it was.
        for position, batch in enumerate(islice(self.global_batches(rng), start, None), start + 1):
            self.position = position
            share = slice(len(batch) * process // world, len(batch) * (process + 1) // world)
            yield [int(index) for index in batch[share]]

    @property
    def sampler(self) -> "GlobalBatchSampler":
        """Itself: Lightning calls `set_epoch` on the loader's `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass. A position to resume from belongs to its own epoch and lapses here."""
        if epoch != self.epoch:
            self.epoch, self.position, self._start = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Plain numbers, the same on every process: the epoch, and how many of its batches were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass goes on behind the last batch handed out."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._start = self.position


class ResumableLoader(DataLoader):
    """A DataLoader over a `GlobalBatchSampler` whose order survives checkpoints, also in the middle of an epoch.

    Lightning saves and restores the state of a loader that has `state_dict`. It creates the loader's iterator before it
    calls `set_epoch`, when workers would already fetch the batches of a wrong epoch; hence the lazy iterator here.
    """

    @property
    def order(self) -> GlobalBatchSampler:
        """The sampler, in whichever of the loader's two places it stands."""
        return self.batch_sampler if self.batch_sampler is not None else self.sampler

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing below runs before the first batch is asked for.
        start = self.order._start
        # An iterator draws a seed for its workers. In an epoch that is resumed it was drawn before the checkpoint.
        with torch.random.fork_rng(devices=[], enabled=start > 0):
            batches = super().__iter__()
        for position, batch in enumerate(batches, start + 1):
            # Workers have drawn ahead; what counts is what the training loop has received.
            self.order.position = position
            yield batch

    def state_dict(self) -> dict[str, int]:
        return self.order.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.order.load_state_dict(state)
