"""A queue of keys from earlier batches, as further negatives."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from common.checks import check_ids
from common.distributed import gather, shards
from common.errors import UserError


class KeyQueue(nn.Module):
    """First in, first out; any batch size, on any number of processes. Source: MoCo (He et al. 2020).

    Unlike MoCo's, it starts empty instead of full of random vectors, and the batch size need not divide its size. All
    processes hold the same queue. Filter for the hardest negatives with `Scores(query, queue.keys).topk(k)`.

    Args:
        size: keys it holds.
        dim: width of a key.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"queue size is {size}; it must be at least 1")
        self.register_buffer("_keys", torch.zeros(size, dim))
        self.register_buffer("_ids", torch.full((size,), -1))
        # In a checkpoint as a tensor; beside it as a number, since a GPU would have to be waited for at each step.
        self.register_buffer("_written", torch.zeros((), dtype=torch.int64))
        self._number: int | None = 0
        self.register_load_state_dict_post_hook(_read_anew)

    @property
    def keys(self) -> Tensor:
        """What the queue holds so far, (q, dim) with q up to `size`, without gradient.

        A copy: the backward pass may still need these keys when the next ones are written over them.
        """
        return self._keys[: len(self)].clone()

    @property
    def ids(self) -> Tensor:
        """Sample id of each key, int64 (q,); -1 where none was given."""
        return self._ids[: len(self)].clone()

    def _so_far(self) -> int:
        """Keys that were ever written."""
        if self._number is None:
            self._number = int(self._written)
        return self._number

    def __len__(self) -> int:
        return min(self._so_far(), len(self._keys))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor | None = None) -> None:
        """Appends the keys of all processes, in rank order, over the oldest ones.

        Args:
            keys: (b, dim), our rows.
            ids: int64 (b,), on all processes or on none.

        Raises:
            UserError: keys of another width, or ids that do not fit them.
        """
        if keys.ndim != 2 or keys.shape[1] != self._keys.shape[1]:
            raise UserError(f"keys {tuple(keys.shape)}: expected (b, {self._keys.shape[1]})")
        if ids is not None:
            check_ids("ids", ids, len(keys))
        layout = shards(len(keys), keys.device)
        keys = gather(keys.detach().to(self._keys), layout)
        ids = keys.new_full((len(keys),), -1, dtype=torch.int64) if ids is None else gather(ids, layout)
        # Of a batch longer than the queue only the end survives; written all at once, equal slots would race.
        start = self._so_far() + max(0, len(keys) - len(self._keys))
        kept = min(len(keys), len(self._keys))
        slots = (start + torch.arange(kept, device=self._keys.device)) % len(self._keys)
        self._keys[slots], self._ids[slots] = keys[-kept:], ids[-kept:]
        self._written += len(keys)
        self._number = self._so_far() + len(keys)

    def fill(self, keys: Iterator[Tensor]) -> None:
        """Appends keys, as `enqueue` does, until it is full; of a queue that is full, nothing is asked.

        Args:
            keys: batch by batch, as many as it takes; made only as they are needed.
        """
        while len(self) < len(self._keys):
            self.enqueue(next(keys))


def _read_anew(queue: KeyQueue, keys: object) -> None:
    queue._number = None
