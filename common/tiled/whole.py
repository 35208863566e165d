"""A matrix of scores that is small enough to be built whole, with both passes in full precision."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.tiled.tiles import full_precision


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


def _scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale a b without a pass of its own for the scale."""
    return torch.addmm(a.new_empty(()), a, b, beta=0.0, alpha=scale)
