"""The collectives on several processes, with shards of different lengths."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from common import distributed
from common.distributed import Exchange
from common.errors import UserError
from common.scores import Scores
from tests.pool import run

SIZES = {2: (4, 1), 4: (2, 3, 1, 2)}
each_world = pytest.mark.parametrize("world", SIZES)


def rows(world: int) -> Tensor:
    return torch.arange(2.0 * sum(SIZES[world]), dtype=torch.float64).view(-1, 2)


def shard() -> Tensor:
    world, rank = dist.get_world_size(), dist.get_rank()
    return rows(world).split(SIZES[world])[rank].clone().requires_grad_()


def gathered() -> tuple[Tensor, Tensor, distributed.Shards]:
    x = shard()
    layout = distributed.shards(len(x), x.device)
    everything = distributed.gather(x, layout)
    # Process r weighs row i by (r + 1) (i + 1).
    weight = (dist.get_rank() + 1) * torch.arange(1.0, len(everything) + 1, dtype=torch.float64)
    (everything * weight[:, None]).sum().backward()
    return everything.detach(), x.grad, layout


@each_world
def test_gather_sums_the_gradients_of_all_processes(world: int) -> None:
    total = sum(range(1, world + 1))
    weights = total * torch.arange(1.0, len(rows(world)) + 1, dtype=torch.float64)[:, None].expand(-1, 2)
    for everything, gradient, layout in run(world, gathered):
        assert torch.equal(everything, rows(world))
        torch.testing.assert_close(gradient, weights[layout.own])
        assert layout.sizes == SIZES[world] and layout.total == sum(SIZES[world])


def reduced() -> tuple[Tensor, ...]:
    x = shard()
    odd = x[:, 0].detach() % 4 == 0
    values = [
        distributed.global_mean(x[:, 0]),
        distributed.global_mean(x[:, 0], where=odd),
        distributed.logsumexp_over_processes(x.sum(dim=0)),
        distributed.global_ratio(x[:, 0].sum(), len(x)),
        distributed.global_ratio(x[:, 0].sum(), (x[:, 0] >= 0).sum()),
    ]
    gradients = [torch.autograd.grad(v.sum(), x)[0] for v in values]
    nothing = distributed.global_mean(x[:, 0] / 0, where=torch.zeros(len(x), dtype=torch.bool))
    values = [v.detach() for v in values]
    return *values[:3], *gradients[:3], nothing.detach(), *values[3:], *gradients[3:]


@each_world
def test_reductions_are_those_of_the_whole_batch(world: int) -> None:
    x = rows(world)
    kept = x[:, 0] % 4 == 0
    sums = torch.stack([part.sum(0) for part in x.split(SIZES[world])])
    for rank, (mean, some, log, mean_grad, some_grad, log_grad, nothing, *ratios) in enumerate(run(world, reduced)):
        torch.testing.assert_close(mean, x[:, 0].mean())
        torch.testing.assert_close(some, x[kept, 0].mean())
        torch.testing.assert_close(log, sums.logsumexp(0))
        # Times the number of processes: DDP's mean takes it off again.
        own = distributed.Shards(SIZES[world], rank).own
        torch.testing.assert_close(mean_grad[:, 0], torch.full((SIZES[world][rank],), world / len(x)).double())
        torch.testing.assert_close(some_grad[:, 0], world * kept[own].double() / kept.sum())
        torch.testing.assert_close(log_grad, (world * sums.softmax(0)[rank]).expand_as(log_grad))
        assert nothing == 0
        # By a number and by a tensor of it: the mean once more.
        for value, gradient in zip(ratios[:2], ratios[2:], strict=True):
            torch.testing.assert_close(value, mean)
            torch.testing.assert_close(gradient, mean_grad)


def travelled() -> tuple[list[int], list[Tensor], Tensor]:
    x = shard().detach()
    layout = distributed.shards(len(x), x.device)
    seen = list(distributed.ring(layout, x))

    def visit(start: int, key: Tensor, gradient: Tensor) -> None:
        gradient += (dist.get_rank() + 1) * key

    return [start for start, _ in seen], [key for _, key in seen], distributed.ring_backward(layout, x, visit)


@each_world
def test_the_ring_brings_every_shard_and_takes_every_gradient_home(world: int) -> None:
    parts = rows(world).split(SIZES[world])
    starts = [sum(SIZES[world][:r]) for r in range(world)]
    for rank, (seen, keys, gradient) in enumerate(run(world, travelled)):
        assert sorted(seen) == starts and seen[0] == starts[rank]
        for start, key in zip(seen, keys, strict=True):
            assert torch.equal(key, parts[starts.index(start)])
        torch.testing.assert_close(gradient, sum(range(1, world + 1)) * parts[rank])


def asks_a_ring_for_all_keys() -> str:
    x = shard().detach()
    try:
        Scores(x, x, exchange=Exchange.RING).topk(1)
    except UserError as error:
        return str(error)
    return ""


def local_and_gathered() -> tuple[int, int]:
    x = shard().detach()
    return tuple(distributed.negatives_per_anchor(len(x), exchange, x.device) for exchange in ("local", "gather"))


def test_a_ring_says_what_it_cannot_do() -> None:
    assert all("use 'gather'" in message for message in run(2, asks_a_ring_for_all_keys))


@each_world
def test_negatives_per_anchor_counts_what_the_exchange_reaches(world: int) -> None:
    for size, counts in zip(SIZES[world], run(world, local_and_gathered), strict=True):
        assert counts == (size - 1, sum(SIZES[world]) - 1)


def test_one_process_exchanges_nothing() -> None:
    x = torch.ones(3, 2)
    layout = distributed.shards(3, x.device)
    assert distributed.gather(x, layout) is x and layout.own == slice(0, 3)
    assert distributed.sum_over_processes(x) is x and distributed.logsumexp_over_processes(x) is x
    assert list(distributed.ring(layout, x)) == [(0, x)]
    six = x.sum()
    assert distributed.global_ratio(six, 3) == distributed.global_ratio(six, torch.tensor(3)) == 2
    assert distributed.global_ratio(six, 0) == distributed.global_ratio(six, torch.tensor(0)) == 6
