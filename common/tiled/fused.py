"""Log-sum-exp of q k^T by Triton, scores and reduction in one kernel; as operators that torch knows.

`usable` says whether they can run: on a GPU with Triton, or anywhere in Triton's interpreter (TRITON_INTERPRET=1),
which is how they are tested without one. They take float32 alone; what cannot run here is left to plain operations.
"""

import importlib.util
import os

import torch
from torch import Tensor, library

NONE = -(1 << 40)
"""As `own`: no pair is left out."""
_HEIGHT, _WIDTH, _STEP = 64, 64, 32
_SLOPES = 1 << 26
"""Entries of the matrix whose slopes are held at a time in the backward pass: 256 MiB."""


def usable(query: Tensor, key: Tensor) -> bool:
    """Whether there is something to run the kernels, and whether they take such tensors."""
    if importlib.util.find_spec("triton") is None or query.dtype != torch.float32 or key.dtype != torch.float32:
        return False
    return query.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def _offset(offset: Tensor | None, query: Tensor) -> tuple[Tensor, tuple[int, int]]:
    return (query, (0, 0)) if offset is None else (offset, (offset.stride(0), offset.stride(1)))


@library.custom_op("contrastive_papers::logsumexp", mutates_args=())
def logsumexp(query: Tensor, key: Tensor, offset: Tensor | None, own: int, tf32: bool) -> Tensor:
    """log sum_j exp(<query_i, key_j> + offset_ij) by row, (m,); -inf where no pair is left.

    Args:
        query: (m, d) and
        key: (n, d), float32.
        offset: constants, (m, n); -inf leaves a pair out.
        own: the pairs with j - i = own are left out; `NONE` leaves none out.
        tf32: whether products may have TF32's precision.
    """
    from common.tiled import triton_kernels

    query, key = query.contiguous(), key.contiguous()
    given, strides = _offset(offset, query)
    out = query.new_empty(len(query))
    if len(query):
        triton_kernels.logsumexp[(-(-len(query) // _HEIGHT),)](
            query, key, given, out, len(query), len(key), query.shape[1], *strides, own,
            edited=offset is not None, precision="tf32" if tf32 else "ieee", height=_HEIGHT, width=_WIDTH, step=_STEP,
        )  # fmt: skip
    return out


@logsumexp.register_fake
def _(query: Tensor, key: Tensor, offset: Tensor | None, own: int, tf32: bool) -> Tensor:
    return query.new_empty(query.shape[0])


@library.custom_op("contrastive_papers::logsumexp_slope", mutates_args=())
def slope(
    query: Tensor, key: Tensor, offset: Tensor | None, own: int, tf32: bool,
    row_total: Tensor | None, row_grad: Tensor | None, column_total: Tensor | None, column_grad: Tensor | None,
) -> Tensor:  # fmt: skip
    """sum over the directions of grad exp(s_ij - total), (m, n): what the log-sum-exps give to each score.

    Args:
        query, key, offset, own, tf32: as of `logsumexp`.
        row_total: the log-sum-exps by row, (m,), finite; None if that direction takes no part.
        row_grad: what reaches them, (m,).
        column_total: by column, (n,), and
        column_grad: what reaches those.
    """
    from common.tiled import triton_kernels

    query, key = query.contiguous(), key.contiguous()
    given, strides = _offset(offset, query)
    out = query.new_empty(len(query), len(key))
    sides = [query if x is None else x.contiguous() for x in (row_total, row_grad, column_total, column_grad)]
    if out.numel():
        triton_kernels.slope[(-(-len(query) // _HEIGHT), -(-len(key) // _WIDTH))](
            query, key, given, *sides, out, len(query), len(key), query.shape[1], *strides, own,
            edited=offset is not None, by_row=row_total is not None, by_column=column_total is not None,
            precision="tf32" if tf32 else "ieee", height=_HEIGHT, width=_WIDTH, step=_STEP,
        )  # fmt: skip
    return out


@slope.register_fake
def _(query, key, offset, own, tf32, row_total, row_grad, column_total, column_grad) -> Tensor:
    return query.new_empty(query.shape[0], key.shape[0])


def _keep(ctx, inputs, output: Tensor) -> None:
    query, key, offset, ctx.own, ctx.tf32 = inputs
    ctx.save_for_backward(query, key, offset, output)


def _backward(ctx, grad: Tensor):
    query, key, offset, total = ctx.saved_tensors
    empty = total.isneginf()
    total, grad = total.masked_fill(empty, 0.0), grad.masked_fill(empty, 0.0)
    grad_query, grad_key = torch.empty_like(query), torch.zeros_like(key)
    height = max(1, _SLOPES // max(1, len(key)))
    for first in range(0, len(query), height):
        rows = slice(first, first + height)
        part = None if offset is None else offset[rows]
        # Row i of this part is row first + i, which lies as much nearer to its own column.
        found = slope(query[rows], key, part, ctx.own + first, ctx.tf32, total[rows], grad[rows], None, None)
        grad_query[rows] = found @ key
        grad_key.addmm_(found.T, query[rows])
    return grad_query, grad_key, None, None, None


logsumexp.register_autograd(_backward, setup_context=_keep)
