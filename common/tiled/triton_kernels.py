"""Triton's kernels under `fused`: one needs Triton to load this, and a GPU or Triton's interpreter to run it."""

import triton
import triton.language as tl


@triton.jit
def _scores(
    q,
    k,
    offset,
    row,
    column,
    m,
    n,
    d,
    down,
    across,
    own,
    edited: tl.constexpr,
    precision: tl.constexpr,
    step: tl.constexpr,
):
    """q k^T at these rows and columns, with what is added to it; -inf outside, and where column - row is `own`."""
    block = tl.zeros((row.shape[0], column.shape[0]), dtype=tl.float32)
    for first in range(0, d, step):
        depth = first + tl.arange(0, step)
        left = tl.load(q + row[:, None] * d + depth[None, :], mask=(row < m)[:, None] & (depth < d)[None, :], other=0.0)
        right = tl.load(
            k + column[None, :] * d + depth[:, None], mask=(column < n)[None, :] & (depth < d)[:, None], other=0.0
        )
        block = tl.dot(left, right, block, input_precision=precision)
    inside = (row < m)[:, None] & (column < n)[None, :]
    if edited:
        block += tl.load(offset + row[:, None] * down + column[None, :] * across, mask=inside, other=0.0)
    return tl.where(inside & (column[None, :] - row[:, None] != own), block, float("-inf"))


@triton.jit
def logsumexp(
    q,
    k,
    offset,
    out,
    m,
    n,
    d,
    down,
    across,
    own,
    edited: tl.constexpr,
    precision: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    step: tl.constexpr,
):
    """One program a block of rows: it goes along their columns with the largest score so far and the sum below it."""
    row = tl.program_id(0) * height + tl.arange(0, height)
    largest = tl.full((height,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((height,), dtype=tl.float32)
    for first in range(0, n, width):
        column = first + tl.arange(0, width)
        block = _scores(q, k, offset, row, column, m, n, d, down, across, own, edited, precision, step)
        larger = tl.maximum(largest, tl.max(block, axis=1))
        shift = tl.where(larger == float("-inf"), 0.0, larger)  # no pair yet: exp(-inf - 0) is 0, exp(-inf + inf) NaN
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(block - shift[:, None]), axis=1)
        largest = larger
    tl.store(
        out + row,
        tl.where(total == 0.0, float("-inf"), largest + tl.log(tl.where(total == 0.0, 1.0, total))),
        mask=row < m,
    )


@triton.jit
def slope(
    q,
    k,
    offset,
    row_total,
    row_grad,
    column_total,
    column_grad,
    out,
    m,
    n,
    d,
    down,
    across,
    own,
    edited: tl.constexpr,
    by_row: tl.constexpr,
    by_column: tl.constexpr,
    precision: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    step: tl.constexpr,
):
    """One program a block of the matrix: the derivative of the log-sum-exps by each score."""
    row = tl.program_id(0) * height + tl.arange(0, height)
    column = tl.program_id(1) * width + tl.arange(0, width)
    block = _scores(q, k, offset, row, column, m, n, d, down, across, own, edited, precision, step)
    found = tl.zeros((height, width), dtype=tl.float32)
    if by_row:
        total = tl.load(row_total + row, mask=row < m, other=0.0)
        found += tl.load(row_grad + row, mask=row < m, other=0.0)[:, None] * tl.exp(block - total[:, None])
    if by_column:
        total = tl.load(column_total + column, mask=column < n, other=0.0)
        found += tl.load(column_grad + column, mask=column < n, other=0.0)[None, :] * tl.exp(block - total[None, :])
    inside = (row < m)[:, None] & (column < n)[None, :]
    tl.store(out + row[:, None] * n + column[None, :], found, mask=inside)
