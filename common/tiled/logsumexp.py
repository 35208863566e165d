"""Log-sum-exp of the rows and the columns of q kᵀ in one sweep, recomputed in the backward pass.

Kept for the backward pass: O((m + n) d) and a bounded number of tiles, where plain autograd keeps several m x n
matrices. A tile is computed once forward, and once backward unless it was kept, for both directions; so a symmetric
loss costs three to four matrix products where two cross-entropies over a matrix and its transpose cost six.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring, ring_backward
from common.tiled.tiles import Edits, Tiles, current, full_precision
from common.tiled.whole import SAFE_SUM

# Within these bounds exp() neither overflows nor loses what matters in float32; see LogSumExp.
_SAFE_SCORE = 40.0
_SAFE_RANGE = 60.0


def _largest_score(query: Tensor, key: Tensor) -> float:
    """An upper bound on |q k| over all pairs (Cauchy-Schwarz)."""
    if not len(query) or not len(key):
        return 0.0
    return float(torch.linalg.vector_norm(query, dim=1).max() * torch.linalg.vector_norm(key, dim=1).max())


def _shared_shift(tile: Tensor, dims: tuple[int, ...], bounded: bool) -> tuple[list[Tensor], float] | None:
    """Log-sum-exp along `dims` from a single exp, and its shift; None where a sum may have underflown.

    The tile is overwritten with exp(tile - shift).
    """
    shift = 0.0 if bounded else float(tile.amax())
    if shift == -math.inf:
        return None
    exponentials = (tile.sub_(shift) if shift else tile).exp_()
    sums = [exponentials.sum(dim) for dim in dims]
    if not bounded and min(float(total.min()) for total in sums) < SAFE_SUM:
        return None
    return [total.log_().add_(shift) for total in sums], shift


class _Kept:
    """Exponentials of some tiles with their shifts, as many as the bound allows, for the backward pass.

    Of each block the first tiles, by its share of the matrix, so that threads that work side by side have as much
    left to do, and that which are kept does not depend on who comes first.

    Args:
        entries: of the matrix, that are visited.
    """

    def __init__(self, entries: int) -> None:
        self.tiling = current()  # of the CPU
        self.share = self.tiling.kept_entries / max(1, entries)
        self.tiles: dict[tuple[int, int, int, int], tuple[Tensor, float]] = {}

    def offer(self, tiles: Tiles, rows: slice, columns: slice, exponentials: Tensor, shift: float) -> None:
        if tiles.done + exponentials.numel() <= self.share * tiles.block_entries:
            self.tiles[rows.start, rows.stop, columns.start, columns.stop] = exponentials.clone(), shift

    def get(self, rows: slice, columns: slice) -> tuple[Tensor, float] | None:
        return self.tiles.get((rows.start, rows.stop, columns.start, columns.stop))


def _edited(matrix: Tensor, edits: Edits) -> Tensor:
    """A changed copy, or the matrix itself where nothing is to change."""
    if not edits.add and not edits.exclude:
        return matrix
    everything = slice(0, matrix.shape[0]), slice(0, matrix.shape[1])
    return edits.fill(edits.apply(matrix.clone(), *everything), *everything, -math.inf)


class WholeLogSumExp(torch.autograd.Function):
    """Log-sum-exp by row (dim 1), by column (dim 0) or both, of a matrix that was small enough to be built.

    The result and its precision are those of `LogSumExp`, from one exp for both directions and both passes. `targets`,
    (m, n), for dims (1,) only: constant weights, with which the scores of each row are summed and taken off its result.
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, edits: Edits, dims: tuple[int, ...], targets: Tensor | None = None):
        expected = None if targets is None else (matrix * targets).sum(1)
        scores = _edited(matrix, edits)
        shift = float(scores.amax())
        exponentials = (scores.sub(shift) if scores is matrix else scores.sub_(shift)).exp_()
        sums = [exponentials.sum(dim) for dim in dims]
        ctx.dims = dims
        ctx.shared = min(float(total.min()) for total in sums) >= SAFE_SUM  # False for NaN too
        if ctx.shared:
            ctx.save_for_backward(targets, exponentials, *sums)
            totals = [total.log().add_(shift) for total in sums]
        else:
            scores = _edited(matrix, edits)
            totals = [scores.logsumexp(dim) for dim in dims]
            ctx.save_for_backward(targets, scores, *totals)
        return tuple(totals) if expected is None else totals[0] - expected

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        targets, matrix, *by_dim = ctx.saved_tensors
        if ctx.shared:
            factors = [(g / total).unsqueeze(dim) for dim, total, g in zip(ctx.dims, by_dim, grads, strict=True)]
            slope = matrix * (factors[0] + factors[1] if len(factors) == 2 else factors[0])
        else:
            slope = sum(
                # Where all pairs of a row are excluded its total is -inf, and its gradient zero.
                (matrix - total.nan_to_num(neginf=0.0).unsqueeze(dim)).exp_().mul_(g.unsqueeze(dim))
                for dim, total, g in zip(ctx.dims, by_dim, grads, strict=True)
            )
        if targets is not None:
            slope.addcmul_(targets, grads[0].unsqueeze(1), value=-1.0)
        return slope, None, None, None


class LogSumExp(torch.autograd.Function):
    """Log-sum-exp of q kᵀ by row, (m,) over all keys, and by column, (n,) over our queries; `dims` says which.

    One exp serves both directions, under a shift shared by the whole tile. That is right as long as no sum is lost to
    underflow, which is checked rather than hoped for:

    * no score beyond ±40, by the norms: no shift is needed and nothing can be lost;
    * else the shift is the tile's maximum, and a sum above 1e-25 has lost at most n * 1e-38 of it;
    * else (a row far below the tile's maximum) the rows and the columns of the tile get shifts of their own.

    Where the matrix is `mirrored` (equal to its transpose, edits included; dims (1,) only), a tile above the diagonal
    also stands for the one below, and half the work is saved.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, edits: Edits, layout: Shards, dims: tuple[int, ...], mirrored: bool):
        totals = [query.new_full((len(query) if dim == 1 else layout.total,), -math.inf) for dim in dims]
        by_dim = dict(zip((1, 0), totals * 2, strict=True)) if mirrored else dict(zip(dims, totals, strict=True))
        kept = _Kept(len(query) * layout.total // (2 if mirrored else 1))
        with full_precision(query.device):
            every = Tiles(query, edits, mirrored)
            for start, visiting in ring(layout, key):
                bounded = not edits.add and _largest_score(query, visiting) <= _SAFE_SCORE

                def visit(tiles, rows, columns, local, visiting=visiting, bounded=bounded) -> None:
                    k = visiting[local]
                    wanted = (1, 0) if mirrored and local.start > rows.start else dims
                    tile = tiles.masked(rows, columns, k)
                    if shared := _shared_shift(tile, wanted, bounded):
                        parts, shift = shared
                        kept.offer(tiles, rows, columns, tile, shift)
                    else:
                        parts = [tiles.masked(rows, columns, k).logsumexp(dim) for dim in wanted]
                    for dim, part in zip(wanted, parts, strict=True):
                        own = by_dim[dim][rows if dim == 1 else columns]
                        torch.logaddexp(own, part, out=own)

                every.sweep(start, visiting, visit)
        ctx.save_for_backward(query, key, *totals)
        ctx.edits, ctx.layout, ctx.dims, ctx.mirrored, ctx.kept = edits, layout, dims, mirrored, kept
        return tuple(totals)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        query, key, *totals = ctx.saved_tensors
        grad_query = torch.zeros_like(query) if ctx.needs_input_grad[0] else None
        by_dim = {dim: (total, grad) for dim, total, grad in zip(ctx.dims, totals, grads, strict=True)}
        with full_precision(query.device):
            every = Tiles(query, ctx.edits, ctx.mirrored, ctx.kept.tiling)
            row = _Softmax(*by_dim[1], every.rows) if 1 in by_dim else None

            def visit_shard(start: int, visiting: Tensor, grad_visiting: Tensor) -> None:
                shard = slice(start, start + len(visiting))
                by_column = None
                if 0 in by_dim:
                    total, upstream = by_dim[0]
                    by_column = _Softmax(total[shard], upstream[shard], every.columns)

                def visit(tiles: Tiles, rows: slice, columns: slice, local: slice) -> None:
                    k, column = visiting[local], by_column
                    if ctx.mirrored:
                        column = row if local.start > rows.start else None
                    both = (row, rows, 1), (column, local, 0)
                    sides = [(side, part, dim) for side, part, dim in both if side is not None]
                    if kept := ctx.kept.get(rows, columns):
                        exponentials, shift = kept
                        out = tiles.scratch[: exponentials.numel()].view_as(exponentials)
                        grad = _weighted(exponentials, shift, sides, out)
                    else:
                        tile = tiles.masked(rows, columns, k)
                        grad = _softmax_gradient(tile, tiles.scratch[: tile.numel()].view_as(tile), sides)
                    if grad_query is not None:
                        grad_query[rows].addmm_(grad, k)
                    if ctx.needs_input_grad[1]:
                        grad_visiting[local].addmm_(grad.T, query[rows])

                every.sweep(start, visiting, visit)

            grad_key = ring_backward(ctx.layout, key, visit_shard)
        return grad_query, grad_key if ctx.needs_input_grad[1] else None, None, None, None, None


class _Softmax:
    """One direction of the gradient g exp(s - lse), with the extremes of lse over each block of `step` entries."""

    def __init__(self, lse: Tensor, grad: Tensor, step: int) -> None:
        # An entry of -inf belongs to a row whose pairs are all excluded: its gradient is zero, and must not be NaN.
        empty = lse.isneginf()
        self.lse, self.grad, self.step = lse.masked_fill(empty, 0.0), grad.masked_fill(empty, 0.0), step
        extremes = [torch.stack(block.aminmax()) for block in self.lse.split(step) if len(block)]
        self.extremes = torch.stack(extremes).tolist() if extremes else []

    def bounds(self, part: slice) -> tuple[float, float]:
        """Between which its lse lie at least: the extremes of the blocks that the part touches."""
        touched = self.extremes[part.start // self.step : (part.stop - 1) // self.step + 1]
        return min(low for low, _ in touched), max(high for _, high in touched)

    def factor(self, part: slice, shift: float) -> Tensor:
        return self.grad[part] * (shift - self.lse[part]).exp()


_Side = tuple[_Softmax, slice, int]
"""A direction, its part of the tile, and the dimension that it sums over."""


def _weighted(exponentials: Tensor, shift: float, sides: list[_Side], out: Tensor) -> Tensor:
    """d/ds of the log-sum-exps from exp(s - shift)."""
    factors = [side.factor(part, shift).unsqueeze(dim) for side, part, dim in sides]
    if len(factors) == 1:
        return torch.mul(exponentials, factors[0], out=out)
    return torch.add(*factors, out=out).mul_(exponentials)


def _softmax_gradient(tile: Tensor, scratch: Tensor, sides: list[_Side]) -> Tensor:
    """d/ds of the log-sum-exps, from the scores; overwrites the tile and the scratch space."""
    bounds = [side.bounds(part) for side, part, _ in sides]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    if high - low <= _SAFE_RANGE:
        # s <= lse, so with a shift between the extremes exp() stays below e^30 and drops only softmaxes below 1e-24.
        shift = 0.0 if max(-low, high) <= _SAFE_RANGE / 2 else (low + high) / 2
        return _weighted((tile.sub_(shift) if shift else tile).exp_(), shift, sides, out=scratch)
    # Rows too far apart to share a shift: an exp for each direction.
    grads = []
    for (side, part, dim), out in zip(sides, (scratch, tile), strict=False):
        torch.sub(tile, side.lse[part].unsqueeze(dim), out=out)
        grads.append(out.exp_().mul_(side.grad[part].unsqueeze(dim)))
    return grads[0].add_(grads[1]) if len(grads) == 2 else grads[0]
