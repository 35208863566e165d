"""Log-sum-exp of the rows and columns of q k^T for devices that run ahead of the program: no number is looked at."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring, ring_backward
from common.tiled import fused
from common.tiled.matrices import Own
from common.tiled.tiles import Edits, Tiles, allows_tf32, full_precision


class StreamedLogSumExp(torch.autograd.Function):
    """What `LogSumExp` gives: by row, (m,) over all keys, and by column, (n,) over our queries; `dims` says which.

    Each direction of a tile is shifted by its own maximum, so that nothing needs to be known of the numbers; the
    backward pass computes the tiles again. O((m + n) d) is kept. With `fuse` Triton's kernels do both.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, edits: Edits, layout: Shards, dims: tuple[int, ...], fuse: bool):
        totals = [query.new_full((len(query) if dim == 1 else layout.total,), -math.inf) for dim in dims]
        with full_precision(query.device):
            tiles = Tiles(query, edits)
            for start, visiting in ring(layout, key):
                for rows, columns, local in tiles.over(start, visiting):
                    k = visiting[local]
                    if fuse:
                        parts = [_fused_part(query[rows], k, dim, *_constants(edits, k, rows, columns)) for dim in dims]
                    else:
                        tile = tiles.masked(rows, columns, k)
                        parts = [tile.logsumexp(dim) for dim in dims]
                    for dim, total, part in zip(dims, totals, parts, strict=True):
                        own = total[rows if dim == 1 else columns]
                        torch.logaddexp(own, part, out=own)
        ctx.save_for_backward(query, key, *totals)
        ctx.edits, ctx.layout, ctx.dims, ctx.fuse = edits, layout, dims, fuse
        return tuple(totals)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        query, key, *totals = ctx.saved_tensors
        wants_query, wants_key, *_ = ctx.needs_input_grad
        grad_query = torch.zeros_like(query) if wants_query else None
        # The total of a row whose pairs are all left out is -inf, and its gradient zero rather than NaN.
        sides = [
            (dim, total.nan_to_num(neginf=0.0), grad.masked_fill(total.isneginf(), 0.0))
            for dim, total, grad in zip(ctx.dims, totals, grads, strict=True)
        ]
        with full_precision(query.device):
            tiles = Tiles(query, ctx.edits)

            def visit(start: int, visiting: Tensor, grad_visiting: Tensor) -> None:
                for rows, columns, local in tiles.over(start, visiting):
                    k = visiting[local]
                    parts = {1: rows, 0: columns}
                    given = {dim: (total[parts[dim]], grad[parts[dim]]) for dim, total, grad in sides}
                    if ctx.fuse:
                        constants = _constants(ctx.edits, k, rows, columns)
                        both = (*given.get(1, (None, None)), *given.get(0, (None, None)))
                        slope = fused.slope(query[rows], k, *constants, allows_tf32(), *both)
                    else:
                        slope = _slope(tiles.masked(rows, columns, k), given)
                    if grad_query is not None:
                        grad_query[rows].addmm_(slope, k)
                    if wants_key:
                        grad_visiting[local].addmm_(slope.T, query[rows])

            grad_key = ring_backward(ctx.layout, key, visit)
        return grad_query, grad_key if wants_key else None, *[None] * 4


def _slope(tile: Tensor, given: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
    """The sum over the directions of grad exp(s - total), of (total, grad) by direction."""
    terms = [(tile - total.unsqueeze(dim)).exp_().mul_(grad.unsqueeze(dim)) for dim, (total, grad) in given.items()]
    return terms[0].add_(terms[1]) if len(terms) == 2 else terms[0]


def _constants(edits: Edits, key: Tensor, rows: slice, columns: slice) -> tuple[Tensor | None, int]:
    """What the kernels are told of the edits of a tile: a matrix to be added, if need be, and where own pairs lie."""
    own = next((matrix for matrix in edits.exclude if isinstance(matrix, Own)), None)
    place = fused.NONE if own is None else own.start + rows.start - columns.start
    rest = Edits(edits.add, tuple(matrix for matrix in edits.exclude if matrix is not own))
    if rest == Edits():
        return None, place
    offset = rest.apply(key.new_zeros(rows.stop - rows.start, len(key)), rows, columns)
    return rest.fill(offset, rows, columns, -math.inf), place


def _fused_part(query: Tensor, key: Tensor, dim: int, offset: Tensor | None, own: int) -> Tensor:
    if dim == 1:
        return fused.logsumexp(query, key, offset, own, allows_tf32())
    turned = None if offset is None else offset.T
    return fused.logsumexp(key, query, turned, own if own == fused.NONE else -own, allows_tf32())
