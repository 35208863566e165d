"""Tiles of the matrix q kᵀ, computed where they are looked at: the ground under `common.scores`."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor

from common.tiled.threads import Block, at_once, rounds


@dataclass(frozen=True)
class Tiling:
    """The shape of a tile, and what may be kept for the backward pass, in entries of the matrix.

    A tile should stay in the cache between the passes over it: 1024 x 512 in float32 is 2 MiB.

    Attributes:
        whole_entries: the largest matrix that is built whole.
        kept_entries: of a larger one, how much is kept as it was in the forward pass rather than computed again: a
            bound that does not grow with the batch, 64 MiB in float32. It shows at a batch of 4,096, where symmetric
            InfoNCE takes a third of a dense matrix's memory; with half as much kept, a fifth, at a sixth more time.
    """

    rows: int = 1024
    columns: int = 512
    whole_entries: int = 512 * 512
    kept_entries: int = 4096 * 4096


_tiling: Tiling | None = None

_LARGEST_SIDE = 8192
"""Of a tile of a GPU: 256 MiB in float32, some hundred times what the launch of an operation is worth."""


@lru_cache
def _of(device: torch.device) -> Tiling:
    """The tiling of a device: what a CPU keeps in its cache; of a GPU at most a hundredth of its memory."""
    if device.type == "cpu":
        return Tiling()
    side = _LARGEST_SIDE
    if device.type == "cuda" and torch.cuda.is_available():
        entries = torch.cuda.get_device_properties(device).total_memory // (100 * 4)
        side = min(side, 1 << (math.isqrt(entries).bit_length() - 1))
    return Tiling(rows=side, columns=side, whole_entries=2048 * 2048, kept_entries=0)


@contextmanager
def tiling(rows: int, columns: int, whole_entries: int = 0, kept_entries: int = 0) -> Iterator[None]:
    """Uses other tiles within the block, and keeps nothing of the matrix unless told to."""
    global _tiling
    before, _tiling = _tiling, Tiling(rows, columns, whole_entries, kept_entries)
    try:
        yield
    finally:
        _tiling = before


def current(device: torch.device | None = None) -> Tiling:
    """The tiling of the block, else that of the device; the CPU's if none is named."""
    return _tiling or _of(device or torch.device("cpu"))


class Matrix(Protocol):
    """An m x n matrix known by its tiles."""

    def tile(self, rows: slice, columns: slice) -> Tensor | None:
        """The entries there, of a shape that broadcasts to them; None where the tile is all zero or all False."""
        ...


@dataclass(frozen=True)
class Edits:
    """Constant changes to the scores: `add` is added, pairs in `exclude` leave every reduction."""

    add: tuple[Matrix, ...] = ()
    exclude: tuple[Matrix, ...] = ()

    @property
    def mirrored(self) -> bool:
        """Whether they leave a matrix equal to its transpose so."""
        return not self.add and all(getattr(matrix, "mirrored", False) for matrix in self.exclude)

    def excluded(self, rows: slice, columns: slice) -> Tensor | None:
        """The pairs of this tile that are left out."""
        out = None
        for matrix in self.exclude:
            tile = matrix.tile(rows, columns)
            if tile is not None:
                out = tile if out is None else out | tile
        return out

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> Tensor:
        """Puts the value at the pairs of this tile that are left out, in place."""
        for matrix in self.exclude:
            if hasattr(matrix, "fill"):
                matrix.fill(tile, rows, columns, value)
            elif (pairs := matrix.tile(rows, columns)) is not None:
                tile.masked_fill_(pairs, value)
        return tile

    def apply(self, scores: Tensor, rows: slice, columns: slice) -> Tensor:
        """Adds in place; excluded pairs are left alone."""
        for matrix in self.add:
            tile = matrix.tile(rows, columns)
            if tile is not None:
                scores += tile
        return scores


def slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(i, min(i + step, stop)) for i in range(start, stop, step)]


_matmul = "ieee"


@contextmanager
def tf32() -> Iterator[None]:
    """On a GPU, products of float32 in the block are those of TF32: faster, with three digits in place of seven."""
    global _matmul
    before, _matmul = _matmul, "tf32"
    try:
        yield
    finally:
        _matmul = before


def allows_tf32() -> bool:
    return _matmul == "tf32"


def full_precision(device: torch.device) -> AbstractContextManager:
    """Holds autocast off: it would compute the scores in bf16, where a logit of 100 has no digit after the point.

    And on a GPU TF32, which has no more of them, unless `tf32` allows it.
    """
    if device.type == "cuda":
        return _exact(device.type)
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@contextmanager
def _exact(kind: str) -> Iterator[None]:
    flags = torch.backends.cuda.matmul
    before, flags.fp32_precision = flags.fp32_precision, _matmul
    try:
        with torch.autocast(kind, enabled=False):
            yield
    finally:
        flags.fp32_precision = before


class Tiles:
    """Computes tiles of q kᵀ into one buffer that stays in the cache.

    A mirrored matrix equals its transpose: only the tiles on and above the diagonal are visited, and tiles are square.

    Attributes:
        rows, columns: of a tile.
        block: the part of the matrix whose tiles are being visited, by its rows and its columns within the shard.
        done: entries of the block in the tiles before the one that is visited.
    """

    def __init__(self, query: Tensor, edits: Edits, mirrored: bool = False, shape: Tiling | None = None) -> None:
        shape = self._shape = shape or current(query.device)
        side = min(shape.rows, shape.columns)
        self.query, self.edits, self.mirrored = query, edits, mirrored
        self.rows, self.columns = (side, side) if mirrored else (shape.rows, shape.columns)
        self.block: Block = slice(0, len(query)), slice(0, 0)
        self.done = 0
        self.buffer = query.new_empty(min(self.rows, len(query)) * self.columns)
        self._scratch: Tensor | None = None
        self._others: list[Tiles] = []

    @property
    def scratch(self) -> Tensor:
        """As large as the buffer of the scores, for what is made of them."""
        if self._scratch is None:
            self._scratch = torch.empty_like(self.buffer)
        return self._scratch

    def over(self, start: int, key: Tensor) -> Iterator[tuple[slice, slice, slice]]:
        """Rows, columns of the whole matrix, and the same columns within this shard of the keys."""
        self.block = slice(0, len(self.query)), slice(0, len(key))
        yield from self._within_block(start)

    def sweep(self, start: int, key: Tensor, visit: "Visit", by_row: bool = False) -> None:
        """Calls `visit` with each tile as `over` gives it, and before that with whose buffers are free for it.

        With several threads of a CPU several at once, of which no two share rows or columns: what belongs to those may
        be changed in place, in an order that is the same at each call. With `by_row` they do not share rows, and those
        of one row come in the order of the columns.
        """
        device = self.query.device
        for together in rounds(len(self.query), len(key), device, mirrored=self.mirrored, by_row=by_row):
            while len(self._others) + 1 < len(together):
                self._others.append(Tiles(self.query, self.edits, self.mirrored, self._shape))
            workers = [self, *self._others]
            at_once([partial(w._visit, start, block, visit) for w, block in zip(workers, together, strict=False)])

    def _visit(self, start: int, block: Block, visit: "Visit") -> None:
        self.block = block
        for rows, columns, local in self._within_block(start):
            visit(self, rows, columns, local)

    @property
    def _is_halved(self) -> bool:
        """Whether the block lies on the diagonal of a mirrored matrix."""
        return self.mirrored and self.block[0] == self.block[1]

    @property
    def block_entries(self) -> int:
        """Of the block, that are visited; on the diagonal without the lower halves of its tiles."""
        height, width = (part.stop - part.start for part in self.block)
        return height * width // (2 if self._is_halved else 1)

    def _within_block(self, start: int) -> Iterator[tuple[slice, slice, slice]]:
        (above, across), self.done = self.block, 0
        for rows in slices(above.start, above.stop, self.rows):
            for local in slices(rows.start if self._is_halved else across.start, across.stop, self.columns):
                yield rows, slice(start + local.start, start + local.stop), local
                self.done += (rows.stop - rows.start) * (local.stop - local.start)

    def scores(self, rows: slice, columns: slice, key: Tensor) -> Tensor:
        height, width = rows.stop - rows.start, len(key)
        out = self.buffer[: height * width].view(height, width)
        torch.mm(self.query[rows], key.T, out=out)
        return self.edits.apply(out, rows, columns)

    def masked(self, rows: slice, columns: slice, key: Tensor) -> Tensor:
        """The scores with -inf at excluded pairs."""
        return self.edits.fill(self.scores(rows, columns, key), rows, columns, -math.inf)


Visit = Callable[[Tiles, slice, slice, slice], None]
"""Of a tile: what computes it, its rows, its columns, and these within the shard of the keys."""
