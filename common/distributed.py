"""Collectives with the right gradient: one gather, one ring, and the reductions a loss needs.

The convention of every loss here. On W processes the objective is the sum of what each process returns, DDP divides
the gradient by W, and each collective is differentiated exactly as that sum demands. A loss that returns its global
value on every process then gives the gradient one process would compute, and logs the number one process would log. The
gradient is scaled where it must be; the value never is.

Outside torch.distributed every function is the identity. Shards may be uneven. Every process must make the same calls.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from common.errors import UserError


class Exchange(StrEnum):
    """Which keys an anchor meets.

    LOCAL: the keys of its own process only. Other negatives than on one process, so another objective.
    GATHER: all keys, held at once: (n, d) on every process.
    RING: all keys, one shard at a time; keys travel from neighbour to neighbour and their gradients travel along.
    """

    LOCAL = "local"
    GATHER = "gather"
    RING = "ring"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise UserError(f"exchange '{value}': expected one of {', '.join(cls)}")


class Shards(NamedTuple):
    """How many rows each process holds, and which of them are ours."""

    sizes: tuple[int, ...]
    rank: int

    @property
    def start(self) -> int:
        """Global position of our first row."""
        return sum(self.sizes[: self.rank])

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @property
    def own(self) -> slice:
        return slice(self.start, self.start + self.sizes[self.rank])


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def shards(rows: int, device: torch.device, exchange: Exchange = Exchange.GATHER) -> Shards:
    """The sizes on all processes; one small collective, and none when there is nothing to exchange."""
    if Exchange(exchange) is Exchange.LOCAL or world_size() == 1:
        return Shards((rows,), 0)
    sizes = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([rows], device=device))
    return Shards(tuple(int(size) for size in sizes), rank())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layout: Shards) -> Tensor:
        ctx.layout = layout
        # Collectives want equal shapes: pad to the longest shard, and cut the padding off on arrival.
        longest = max(layout.sizes)
        padded = x.new_zeros(longest, *x.shape[1:])
        padded[: len(x)] = x
        received = [torch.empty_like(padded) for _ in layout.sizes]
        dist.all_gather(received, padded)
        return torch.cat([part[:size] for part, size in zip(received, layout.sizes, strict=True)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        # Every process used our rows, so our gradient is the sum of theirs. all_reduce: gloo has no reduce_scatter.
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[ctx.layout.own], None


def gather(x: Tensor, layout: Shards) -> Tensor:
    """Rows of all processes in rank order: (n_local, ...) -> (n, ...), differentiable."""
    return x if len(layout.sizes) == 1 else _Gather.apply(x, layout)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad


def sum_over_processes(x: Tensor) -> Tensor:
    """The elementwise sum over processes, differentiable; `x` has the same shape everywhere."""
    return x if world_size() == 1 else _Sum.apply(x)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        shift = x.clone()
        dist.all_reduce(shift, op=dist.ReduceOp.MAX)
        shift = shift.nan_to_num(neginf=0.0)
        total = (x - shift).exp()
        dist.all_reduce(total)
        result = total.log() + shift
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        x, result = ctx.saved_tensors
        grad = grad.clone()
        dist.all_reduce(grad)
        return torch.where(result.isneginf(), 0.0, grad * (x - result).exp())


def logsumexp_over_processes(x: Tensor) -> Tensor:
    """log of the sum over processes of exp(x), elementwise and differentiable; -inf means no term."""
    return x if world_size() == 1 else _LogSumExp.apply(x)


def global_mean(values: Tensor, where: Tensor | None = None) -> Tensor:
    """The mean over the rows of all processes: the same number on each, whatever the shards.

    Args:
        values: one value an anchor, (n_local,).
        where: boolean (n_local,); anchors outside it count neither above nor below the line.

    Returns:
        0-d; without any anchor 0, from which the gradient of the values is 0.
    """
    if where is None and world_size() == 1:
        return values.mean() if len(values) else values.sum()
    if where is None:
        where = torch.ones_like(values, dtype=torch.bool)
    count = sum_over_processes(where.sum())
    # Not a product: an excluded anchor may hold an infinity, and 0 * inf is NaN.
    return sum_over_processes(values.masked_fill(~where, 0.0).sum()) / count.clamp(min=1)


def global_ratio(total: Tensor, count: int | Tensor) -> Tensor:
    """The sum of `total` over the processes, divided by that of `count`: a mean whose terms are summed already.

    Args:
        total: 0-d.
        count: a number, or a 0-d tensor of integers, for which a GPU need not be waited for.
    """
    if world_size() == 1:
        return total / (count.clamp(min=1) if isinstance(count, Tensor) else max(1, count))
    counts = torch.as_tensor(count, dtype=total.dtype, device=total.device)
    return sum_over_processes(total) / sum_over_processes(counts).clamp(min=1)


def negatives_per_anchor(batch: int, exchange: Exchange, device: torch.device) -> int:
    """How many keys but its own an anchor meets when this process has `batch` of them: for the log, once a run."""
    return shards(batch, device, exchange).total - 1


class _Passing:
    """Tensors on their way to the next process, while those of the process before arrive."""

    def __init__(self, *tensors: Tensor, rows: int) -> None:
        here, world = rank(), world_size()
        self.arriving = [x.new_empty(rows, *x.shape[1:]) for x in tensors]
        # Kept until the transfer is over: the library holds no reference to what it sends.
        self._leaving = [x.contiguous() for x in tensors]
        operations = [dist.P2POp(dist.isend, x, (here + 1) % world) for x in self._leaving]
        operations += [dist.P2POp(dist.irecv, x, (here - 1) % world) for x in self.arriving]
        self._work = dist.batch_isend_irecv(operations)

    def wait(self) -> list[Tensor]:
        for item in self._work:
            item.wait()
        return self.arriving


def ring(layout: Shards, key: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Every shard of the keys in turn, ours first, each with the global position of its first row."""
    world = len(layout.sizes)
    for step in range(world):
        origin = (layout.rank - step) % world
        last = step == world - 1
        # The next shard is under way while the caller works on this one.
        passing = None if last else _Passing(key, rows=layout.sizes[origin - 1])
        yield sum(layout.sizes[:origin]), key
        if passing is not None:
            (key,) = passing.wait()


def ring_backward(layout: Shards, key: Tensor, visit: Callable[[int, Tensor, Tensor], None]) -> Tensor:
    """The gradient of our keys after they have been around once more, each shard with its gradient beside it.

    Args:
        visit: called with the position of the first row, the visiting keys, and the gradient to add to in place.
    """
    world = len(layout.sizes)
    gradient = torch.zeros_like(key)
    for step in range(world):
        origin = (layout.rank - step) % world
        visit(sum(layout.sizes[:origin]), key, gradient)
        if world > 1:
            key, gradient = _Passing(key, gradient, rows=layout.sizes[origin - 1]).wait()
    return gradient
