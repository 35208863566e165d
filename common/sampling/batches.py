"""The order of the samples: global batches that do not depend on the number of processes."""

from collections.abc import Iterator

import torch
from torch import distributed
from torch.utils.data import Sampler

from common.errors import UserError


class GlobalBatchSampler(Sampler[list[int]]):
    """Cuts one seeded permutation into global batches and yields this process's contiguous slice of each.

    Rank r of W draws rows r * b / W up to (r + 1) * b / W of every global batch of b rows, so the union over the
    processes is the batch that one process would draw. Give it to a `DataLoader` as `sampler` with `batch_size=None`:
    the data set then receives whole lists of indices, and Lightning calls `set_epoch`.

    Args:
        size: number of samples.
        batch_size: samples in one global batch.
        seed: together with the epoch it fixes the permutation.
        drop_last: leave out the last batch if it is short. A kept short batch must divide by the processes, too.
    """

    def __init__(self, size: int, batch_size: int, seed: int = 0, drop_last: bool = True) -> None:
        if drop_last and size < batch_size:
            raise UserError(f"data.batch_size is {batch_size}; the training split has only {size} samples")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        # The process group exists only once the trainer runs, so it is asked here and not in the constructor.
        running = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if running else (0, 1)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size]
            if len(batch) % world:
                raise UserError(f"a global batch of {len(batch)} samples does not divide by {world} processes")
            share = len(batch) // world
            yield batch[rank * share : (rank + 1) * share]
