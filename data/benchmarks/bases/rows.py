"""Batches out of tensors that have a row a sample."""

from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from common.sampling.batches import GlobalBatchSampler, ResumableLoader


class Rows(Dataset):
    """Takes a whole list of indices at once and returns a batch of the type of `table`."""

    def __init__(self, table: NamedTuple) -> None:
        self.table = table

    def __getitem__(self, index: list[int]) -> Any:
        at = torch.tensor(index)
        return type(self.table)(*(column[at] for column in self.table))


def rows_loader(table: NamedTuple, batch_size: int, seed: int) -> ResumableLoader:
    """The rows of `table`, a named tuple of tensors of one length, in global batches."""
    return ResumableLoader(Rows(table), sampler=GlobalBatchSampler(len(table[0]), batch_size, seed), batch_size=None)


def cut_rows(table: Any, sizes: dict[str, int]) -> dict[str, Any]:
    """Consecutive parts of `table` with so many rows each."""
    parts, start = {}, 0
    for name, size in sizes.items():
        parts[name] = type(table)(*(column[start : start + size] for column in table))
        start += size
    return parts
