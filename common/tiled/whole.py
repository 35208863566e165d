"""A matrix of scores that is small enough to be built whole, with both passes in full precision."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.tiled.tiles import full_precision

SAFE_SUM = 1e-25
"""A sum of exponentials under a shift of the whole matrix that is above has lost at most n * 1e-38 of it."""


class Product(torch.autograd.Function):
    """q kᵀ + bias, (m, n); the bias is 0-d, or None."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(query, key)
        with full_precision(query.device):
            return query @ key.T if bias is None else torch.addmm(bias, query, key.T)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        query, key = ctx.saved_tensors
        wants_query, wants_key, wants_bias = ctx.needs_input_grad
        with full_precision(query.device):
            grad_query = grad @ key if wants_query else None
            grad_key = grad.T @ query if wants_key else None
        return grad_query, grad_key, grad.sum() if wants_bias else None


class Gram(torch.autograd.Function):
    """scale x xᵀ, (n, n), of x (n, d) and a number or a 0-d tensor.

    Both sides are one set, so its gradient is scale (G + Gᵀ) x: one matrix product where two sides would take two.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: float | Tensor) -> Tensor:
        ctx.save_for_backward(x, scale if isinstance(scale, Tensor) else None)
        ctx.scale = None if isinstance(scale, Tensor) else scale
        with full_precision(x.device):
            return (x @ x.T).mul_(scale) if isinstance(scale, Tensor) else _scaled_product(x, x.T, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, scale = ctx.saved_tensors
        with full_precision(x.device):
            # A copy first: to add a matrix to its transpose reads one of them against the grain.
            both = grad.T.clone(memory_format=torch.contiguous_format).add_(grad)
            if scale is None:
                return _scaled_product(both, x, ctx.scale), None
            toward = both @ x
        # sum_ij G_ij x_i x_j is <x, G x>, and half of <x, (G + G^T) x>.
        grad_scale = (x * toward).sum() / 2 if ctx.needs_input_grad[1] else None
        return toward.mul_(scale), grad_scale


class OwnCrossEntropy(torch.autograd.Function):
    """The sum over rows, columns or both of log-sum-exp less own score, 0-d; of scale q kᵀ, as many keys as queries.

    All in one step: at a hundred rows the steps between take as long as the products.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, scale: float | Tensor, dims: tuple[int, ...]) -> Tensor:
        with full_precision(query.device):
            scores = (query @ key.T).mul_(scale)
        own = scores.diagonal()
        shift = float(scores.amax())
        exponentials = (scores - shift).exp_()
        sums = [exponentials.sum(dim) for dim in dims]
        shared = min(float(total.min()) for total in sums) >= SAFE_SUM  # False for NaN too
        if shared:
            # Row by row: where the loss is small, so are both terms, and no digit is lost to their sums.
            beyond = shift - own
            total = torch.stack([part.log().add_(beyond).sum() for part in sums]).sum()
        else:
            total = torch.stack([(scores.logsumexp(dim) - own).sum() for dim in dims]).sum()
        if any(ctx.needs_input_grad):
            if shared:
                inverse = [part.reciprocal_().unsqueeze(dim) for part, dim in zip(sums, dims, strict=True)]
                slope = exponentials.mul_(inverse[0] + inverse[1] if len(dims) == 2 else inverse[0])
            else:
                slope = torch.stack([scores.softmax(dim) for dim in dims]).sum(0)
            slope.diagonal().sub_(len(dims))
            ctx.save_for_backward(query, key, slope, scale if isinstance(scale, Tensor) else None)
            ctx.scale = scale
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        query, key, slope, learnt = ctx.saved_tensors
        scale = ctx.scale if learnt is None else learnt
        wants_query, wants_key, wants_scale, _ = ctx.needs_input_grad
        grad_query = grad_scale = None
        with full_precision(query.device):
            if wants_query or wants_scale:
                toward = slope @ key
                grad_scale = (query * toward).sum() * grad if wants_scale else None
                grad_query = toward.mul_(scale * grad) if wants_query else None
            grad_key = (slope.T @ query).mul_(scale * grad) if wants_key else None
        return grad_query, grad_key, grad_scale, None


def _scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale a b without a pass of its own for the scale."""
    return torch.addmm(a.new_empty(()), a, b, beta=0.0, alpha=scale)
