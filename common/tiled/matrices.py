"""Matrices known by their tiles: masks, weights and offsets of the pairs. No gradient flows through them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from common.errors import UserError
from common.tiled.tiles import Matrix


class Pairwise(NamedTuple):
    """The matrix f(row_i, column_j), computed where it is looked at; no gradient flows through it.

    Attributes:
        function: takes the row vectors as (r, 1) and the column vectors as (1, c), gives (r, c).
        rows: vectors (m,).
        columns: vectors (n,), one value for every column of the scores.
    """

    function: Callable[..., Tensor]
    rows: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]

    @property
    def mirrored(self) -> bool:
        """Whether the matrix is known to equal its transpose."""
        same = len(self.rows) == 1 == len(self.columns) and self.rows[0] is self.columns[0]
        return same and self.function in (torch.eq, torch.ne)

    @torch.no_grad()
    def tile(self, rows: slice, columns: slice) -> Tensor:
        return self.function(*(x[rows, None] for x in self.rows), *(x[None, columns] for x in self.columns))


class Entries(NamedTuple):
    """A matrix given whole, (m, n); its memory is the caller's choice."""

    values: Tensor

    def tile(self, rows: slice, columns: slice) -> Tensor:
        return self.values[rows, columns].detach()


class Own(NamedTuple):
    """True where row i meets column start + i: the pair of a query with its own key."""

    start: int
    device: torch.device

    @property
    def mirrored(self) -> bool:
        return self.start == 0

    def diagonal(self, tile: Tensor, rows: slice, columns: slice) -> Tensor:
        """The entries of a tile at these pairs, a view; empty where there are none."""
        return tile.diagonal(self.start + rows.start - columns.start)

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> None:
        """Puts the value at these pairs of a tile, in place and without a mask."""
        self.diagonal(tile, rows, columns).fill_(value)

    def tile(self, rows: slice, columns: slice) -> Tensor | None:
        first, last = self.start + rows.start, self.start + rows.stop
        if last <= columns.start or first >= columns.stop:
            return None
        pairs = torch.zeros(last - first, columns.stop - columns.start, dtype=torch.bool, device=self.device)
        self.fill(pairs, rows, columns, True)
        return pairs


class Where(NamedTuple):
    """A value at some pairs, zero elsewhere."""

    pairs: Matrix
    value: float
    dtype: torch.dtype

    def tile(self, rows: slice, columns: slice) -> Tensor | None:
        tile = self.pairs.tile(rows, columns)
        # Not a product: the log of a weight of 0 is -inf, and 0 * inf is NaN.
        return None if tile is None else torch.zeros_like(tile, dtype=self.dtype).masked_fill_(tile, self.value)


def as_matrix(values: Matrix | Tensor, shape: tuple[int, int]) -> Matrix:
    """A tensor given whole as a matrix; any other matrix as it is. Whatever has a shape is checked for it."""
    own = getattr(values, "shape", shape)
    if tuple(own) != shape:
        raise UserError(f"matrix {tuple(own)}: expected {shape}, our queries x all keys")
    return Entries(values) if isinstance(values, Tensor) else values
