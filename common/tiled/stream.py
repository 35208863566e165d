"""Log-sum-exp of the rows and columns of q k^T for devices that run ahead of the program: no number is looked at."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring, ring_backward
from common.tiled.tiles import Edits, Tiles, full_precision


class StreamedLogSumExp(torch.autograd.Function):
    """What `LogSumExp` gives: by row, (m,) over all keys, and by column, (n,) over our queries; `dims` says which.

    Each direction of a tile is shifted by its own maximum, so that nothing needs to be known of the numbers; the
    backward pass computes the tiles again. O((m + n) d) is kept.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, edits: Edits, layout: Shards, dims: tuple[int, ...]):
        totals = [query.new_full((len(query) if dim == 1 else layout.total,), -math.inf) for dim in dims]
        with full_precision(query.device):
            tiles = Tiles(query, edits)
            for start, visiting in ring(layout, key):
                for rows, columns, local in tiles.over(start, visiting):
                    tile = tiles.masked(rows, columns, visiting[local])
                    for dim, total in zip(dims, totals, strict=True):
                        own = total[rows if dim == 1 else columns]
                        torch.logaddexp(own, tile.logsumexp(dim), out=own)
        ctx.save_for_backward(query, key, *totals)
        ctx.edits, ctx.layout, ctx.dims = edits, layout, dims
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
                    tile = tiles.masked(rows, columns, k)
                    slopes = []
                    for dim, total, grad in sides:
                        part = rows if dim == 1 else columns
                        slopes.append((tile - total[part].unsqueeze(dim)).exp_().mul_(grad[part].unsqueeze(dim)))
                    slope = slopes[0].add_(slopes[1]) if len(slopes) == 2 else slopes[0]
                    if grad_query is not None:
                        grad_query[rows].addmm_(slope, k)
                    if wants_key:
                        grad_visiting[local].addmm_(slope.T, query[rows])

            grad_key = ring_backward(ctx.layout, key, visit)
        return grad_query, grad_key if wants_key else None, None, None, None
