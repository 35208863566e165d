"""The sum of softplus(q kᵀ + bias) over all pairs, with its gradient from the same sweep."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring_backward
from common.tiled.matrices import Own
from common.tiled.tiles import Edits, Tiles, full_precision


def _softplus(scores: Tensor) -> Tensor:
    """max(s, 0) + log(1 + e^-|s|), as exact as log1p, whose kernel takes ten times as long as log does."""
    exponential = scores.abs().neg_().exp_()
    rounded = exponential + 1.0
    # log(1 + e) = log(r) + log((1 + e) / r), with r = 1 + e as rounded; the second term is lost / r, next to nothing.
    lost = (1.0 - rounded).add_(exponential).div_(rounded)
    return torch.clamp(scores, min=0.0, out=exponential).add_(rounded.log_()).add_(lost)


class WholeSoftplusTotal(torch.autograd.Function):
    """What `SoftplusTotal` gives, of a matrix small enough to be built once and kept, with little around it."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, bias: Tensor, edits: Edits, positive: Own | None):
        everything = slice(0, query.shape[0]), slice(0, key.shape[0])
        with full_precision(query.device):
            scores = edits.apply(torch.addmm(bias, query, key.T), *everything)
        edits.fill(scores, *everything, -torch.inf)
        total = _softplus(scores).sum()
        if positive is not None:
            total -= positive.diagonal(scores, *everything).sum()
        slope = scores.sigmoid_()
        if positive is not None:
            positive.diagonal(slope, *everything).sub_(1.0)
        ctx.save_for_backward(query, key, slope)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        query, key, slope = ctx.saved_tensors
        wants_query, wants_key, wants_bias, *_ = ctx.needs_input_grad
        with full_precision(query.device):
            grad_query = (slope @ key).mul_(grad) if wants_query else None
            grad_key = (slope.T @ query).mul_(grad) if wants_key else None
        return grad_query, grad_key, slope.sum() * grad if wants_bias else None, None, None


class SoftplusTotal(torch.autograd.Function):
    """The sum over all pairs, 0-d; of softplus(-s) at the pairs that are `positive`, if any.

    No pair competes with another, so the slope of a pair is known as soon as its score is: sigmoid(s). The gradients
    are therefore summed up while the value is, three matrix products in all, and O((m + n) d) is kept until the
    backward pass scales them. As softplus(-s) = softplus(s) - s, a positive one costs no more. `differentiate` is False
    where no gradient will be asked for, which leaves one product.
    """

    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        key: Tensor,
        bias: Tensor,
        edits: Edits,
        layout: Shards,
        positive: Own | None,
        differentiate: bool,
    ):
        wants_query, wants_key, wants_bias = (differentiate and wanted for wanted in ctx.needs_input_grad[:3])
        total, own_total = query.new_zeros(len(query)), query.new_zeros(len(query))
        grad_query = torch.zeros_like(query) if wants_query else None
        slopes = query.new_zeros(len(query))
        with full_precision(query.device):
            every = Tiles(query, edits)

            def visit_shard(start: int, visiting: Tensor, grad_visiting: Tensor) -> None:
                def visit(tiles: Tiles, rows: slice, columns: slice, local: slice) -> None:
                    k = visiting[local]
                    scores = tiles.scores(rows, columns, k).add_(bias)
                    edits.fill(scores, rows, columns, -torch.inf)
                    total[rows] += _softplus(scores).sum(1)
                    if positive is not None:
                        own_total[rows.start] += positive.diagonal(scores, rows, columns).sum()
                    if not (wants_query or wants_key or wants_bias):
                        return
                    slope = scores.sigmoid_()
                    if positive is not None:
                        positive.diagonal(slope, rows, columns).sub_(1.0)
                    if grad_query is not None:
                        grad_query[rows].addmm_(slope, k)
                    if wants_key:
                        grad_visiting[local].addmm_(slope.T, query[rows])
                    if wants_bias:
                        slopes[rows] += slope.sum(1)

                every.sweep(start, visiting, visit)

            grad_key = ring_backward(layout, key, visit_shard)
        ctx.save_for_backward(grad_query, grad_key if wants_key else None, slopes.sum() if wants_bias else None)
        return total.sum() - own_total.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return *(None if saved is None else grad * saved for saved in ctx.saved_tensors), *[None] * 4
