"""Sums of an elementwise function over the rows or columns of q kᵀ, recomputed in the backward pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring, ring_backward
from common.tiled.tiles import Edits, Matrix, Tiles, full_precision


class Sum(torch.autograd.Function):
    """Sum of f(s, *rows, *columns, *pairs) by row (dim 1) or by column (dim 0); f is differentiated tile by tile.

    `vectors` holds `row_count` vectors of one value a query, (m,), then vectors of one value a key, (n,). f gets them
    with a dimension added, so that they broadcast against its tile of scores.
    """

    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        key: Tensor,
        f: Callable[..., Tensor],
        edits: Edits,
        layout: Shards,
        dim: int,
        pairs: Sequence[Matrix],
        row_count: int,
        *vectors: Tensor,
    ) -> Tensor:
        total = query.new_zeros(len(query) if dim == 1 else layout.total)
        with full_precision(query.device):
            every = Tiles(query, edits)
            for start, visiting in ring(layout, key):

                def visit(tiles: Tiles, rows: slice, columns: slice, local: slice, visiting: Tensor = visiting) -> None:
                    scores = tiles.scores(rows, columns, visiting[local])
                    arguments = _parts(vectors, row_count, rows, columns)
                    value = apply(f, scores, arguments, pairs, edits, rows, columns)
                    total[rows if dim == 1 else columns] += value.sum(dim)

                every.sweep(start, visiting, visit)
        ctx.save_for_backward(query, key, *vectors)
        ctx.constants = f, edits, layout, dim, pairs, row_count
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        query, key, *vectors = ctx.saved_tensors
        f, edits, layout, dim, pairs, row_count = ctx.constants
        need_query, need_key, *_ = ctx.needs_input_grad
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[8:]) if needed]
        grad_query = torch.zeros_like(query)
        grad_vectors = {i: torch.zeros_like(vectors[i]) for i in wanted}
        with full_precision(query.device):
            every = Tiles(query, edits)

            def visit_shard(start: int, visiting: Tensor, grad_visiting: Tensor) -> None:
                def visit(tiles: Tiles, rows: slice, columns: slice, local: slice) -> None:
                    k = visiting[local]
                    scores = tiles.scores(rows, columns, k).requires_grad_()
                    arguments = [x.detach() for x in _parts(vectors, row_count, rows, columns)]
                    inputs = [scores, *(arguments[i].requires_grad_() for i in wanted)]
                    with torch.enable_grad():
                        value = apply(f, scores, arguments, pairs, edits, rows, columns)
                    upstream = grad[rows].unsqueeze(1) if dim == 1 else grad[columns].unsqueeze(0)
                    slope, *slopes = torch.autograd.grad(
                        value, inputs, upstream.expand_as(value), allow_unused=True, materialize_grads=True
                    )
                    if need_query:
                        grad_query[rows].addmm_(slope, k)
                    if need_key:
                        grad_visiting[local].addmm_(slope.T, query[rows])
                    for i, part in zip(wanted, slopes, strict=True):
                        grad_vectors[i][rows if i < row_count else columns] += part.flatten()

                every.sweep(start, visiting, visit)

            grad_key = ring_backward(layout, key, visit_shard)
        vectors_out = [grad_vectors.get(i) for i in range(len(vectors))]
        return grad_query if need_query else None, grad_key if need_key else None, *[None] * 6, *vectors_out


def _parts(vectors: Sequence[Tensor], row_count: int, rows: slice, columns: slice) -> list[Tensor]:
    return [x[rows].unsqueeze(1) if i < row_count else x[columns].unsqueeze(0) for i, x in enumerate(vectors)]


def apply(
    f: Callable[..., Tensor],
    scores: Tensor,
    vectors: Sequence[Tensor],
    pairs: Sequence[Matrix],
    edits: Edits,
    rows: slice,
    columns: slice,
) -> Tensor:
    """f on one tile, zero at excluded pairs."""
    with torch.no_grad():
        constants = [matrix.tile(rows, columns) for matrix in pairs]
        excluded = edits.excluded(rows, columns)
    value = f(scores, *vectors, *constants)
    return value if excluded is None else value.masked_fill(excluded, 0.0)
