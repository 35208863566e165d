"""The sum of softplus(q kᵀ + bias) over all pairs, with its gradient from the same sweep."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.distributed import Shards, ring_backward
from common.tiled.tiles import Edits, Tiles, full_precision


class SoftplusTotal(torch.autograd.Function):
    """The sum over all pairs, 0-d.

    No pair competes with another, so the slope of a pair is known as soon as its score is: sigmoid(s). The gradients
    are therefore summed up while the value is, three matrix products in all, and O((m + n) d) is kept until the
    backward pass scales them. `differentiate` is False where no gradient will be asked for, which leaves one product.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, bias: Tensor, edits: Edits, layout: Shards, differentiate: bool):
        wants_query, wants_key, wants_bias = (differentiate and wanted for wanted in ctx.needs_input_grad[:3])
        total = query.new_zeros(len(query))
        grad_query = torch.zeros_like(query) if wants_query else None
        slopes = query.new_zeros(len(query))
        with full_precision(query.device):
            tiles = Tiles(query, edits)

            def visit(start: int, visiting: Tensor, grad_visiting: Tensor) -> None:
                for rows, columns, local in tiles.over(start, visiting):
                    k = visiting[local]
                    scores = tiles.scores(rows, columns, k).add_(bias)
                    excluded = edits.excluded(rows, columns)
                    if excluded is not None:
                        scores.masked_fill_(excluded, -torch.inf)
                    # The default threshold of 20 would drop e^-20, which float64 still sees.
                    total[rows] += F.softplus(scores, threshold=40.0).sum(1)
                    if not (wants_query or wants_key or wants_bias):
                        continue
                    slope = scores.sigmoid_()
                    if wants_query:
                        grad_query[rows].addmm_(slope, k)
                    if wants_key:
                        grad_visiting[local].addmm_(slope.T, query[rows])
                    if wants_bias:
                        slopes[rows] += slope.sum(1)

            grad_key = ring_backward(layout, key, visit)
        ctx.save_for_backward(grad_query, grad_key if wants_key else None, slopes.sum() if wants_bias else None)
        return total.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return *(None if saved is None else grad * saved for saved in ctx.saved_tensors), None, None, None
