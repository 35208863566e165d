"""The ways in which a matrix of scores is reduced; the tests of `Scores` and of the losses over it take all of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.tiled.backends import using
from common.tiled.threads import side_by_side
from common.tiled.tiles import tiling

# Tiles that divide neither batch; the same with some kept for the backward pass; by two threads side by side; the
# matrix built whole; and the other backends, the GPU's on CPU tensors.
WALKS = {
    "tiled": ("cpu", (3, 2, 0)),
    "kept": ("cpu", (3, 2, 0, 20)),
    "threads": ("cpu", (3, 2, 0, 20)),
    "dense": ("cpu", (512, 512, 10**6)),
    "reference": ("reference", (3, 2, 0)),
    "streamed": ("cuda", (3, 2, 0)),
    "streamed dense": ("cuda", (512, 512, 10**6)),
}


@contextmanager
def walking(walk: str, rows: int | None = None, columns: int | None = None, kept: int = 0) -> Iterator[None]:
    """Takes this way within the block, by tiles of another shape if one is given."""
    backend, shape = WALKS[walk]
    if rows is not None and "dense" not in walk:
        shape = (rows, columns, 0, kept if walk in ("kept", "threads") else 0)
    with using(backend), tiling(*shape), side_by_side(2 if walk == "threads" else 1):
        yield
