"""Tables: named columns with a row a sample. The splits of a benchmark are tables, and so are most of its batches."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.sampling.batches import GlobalBatchSampler, ResumableLoader

T = TypeVar("T", bound=tuple)


class Rows(NamedTuple):
    """Positions alone, for a batch that is made of them: of what has no row a sample, or takes the epoch to make."""

    index: Tensor
    """int64, shape (n,)."""


def take(table: T, rows: Tensor) -> T:
    """The rows at the positions `rows`, in that order, as the same named tuple.

    Args:
        table: a named tuple of columns of one length: tensors, lists, or anything else that is indexed by a list of
            positions, such as files. A tuple or a dictionary of columns is taken column by column, such as captions
            in several languages.
        rows: int64 of shape (m,), or bool of shape (n,): the rows where it is true.
    """
    at = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
    return type(table)(*(_taken(column, at, at.tolist()) for column in table))


def _taken(column: Any, rows: Tensor, at: list[int]) -> Any:
    if isinstance(column, Tensor):
        return column[rows]
    if isinstance(column, dict):
        return {name: _taken(one, rows, at) for name, one in column.items()}
    if isinstance(column, tuple):
        return tuple(_taken(one, rows, at) for one in column)
    return [column[i] for i in at] if isinstance(column, Sequence) else column[at]


def cut(table: T, sizes: dict[str, int]) -> dict[str, T]:
    """Consecutive parts of a table with so many rows each, by name."""
    ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
    parts = zip(sizes, ends, strict=True)
    return {name: take(table, torch.arange(end - sizes[name], end)) for name, end in parts}


def joined(*tables: T) -> T:
    """The rows of all tables, one table after the other."""
    return type(tables[0])(*map(_joined, zip(*tables, strict=True)))


def _joined(columns: tuple[Any, ...]) -> Any:
    if isinstance(columns[0], Tensor):
        return torch.cat(columns)
    if isinstance(columns[0], tuple):
        return tuple(map(_joined, zip(*columns, strict=True)))
    return [item for column in columns for item in column]


class Table(Dataset, Generic[T]):
    """A data set of rows: takes a whole list of indices at once, one indexing of a tensor instead of a call a sample.

    Args:
        columns: see `take`.
        batch: makes the batch of the rows that were taken, given them and, as the key of what is drawn, the seed and
            the epoch of the order; by default the rows are the batch.
    """

    def __init__(self, columns: T, batch: Callable[[T, int, int], Any] | None = None) -> None:
        self.columns = columns
        self.batch = batch
        self.order: GlobalBatchSampler | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: list[int]) -> Any:
        rows = take(self.columns, torch.tensor(index))
        return rows if self.batch is None else self.batch(rows, self.order.seed, self.order.epoch)

    def loader(self, batch_size: int, seed: int) -> ResumableLoader:
        """Global batches of a seeded permutation of the rows."""
        return self.loader_over(GlobalBatchSampler(len(self), batch_size, seed))

    def loader_over(self, order: GlobalBatchSampler, workers: int = 0) -> ResumableLoader:
        """The batches of `order`, read ahead by so many processes."""
        self.order = order
        return ResumableLoader(self, sampler=order, batch_size=None, num_workers=workers)
