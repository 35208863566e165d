"""Statistics over all processes, and batches that are dealt out to them at random."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.encoders.norms import GlobalBatchNorm, encode_shuffled, with_global_statistics, with_split_statistics
from common.errors import UserError
from tests.processes import on_processes


class Network(nn.Module):
    """A map, a normalization of it, and another without weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(12, 4, bias=False), nn.BatchNorm1d(4, affine=False))
        nn.init.normal_(self.body[1].weight)
        nn.init.normal_(self.body[1].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).pow(3).sum() / 9


def trained(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Value, gradients and running statistics of a step on these rows."""
    value = network(x)
    value.backward()
    return value.detach(), [p.grad for p in network.parameters()], [b.clone() for b in network.buffers()]


X = torch.randn(9, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_on_one_process_it_is_batch_normalization() -> None:
    plain, ours = Network().double(), with_global_statistics(Network().double())
    assert plain.state_dict().keys() == ours.state_dict().keys()
    assert sum(isinstance(part, GlobalBatchNorm) for part in ours.modules()) == 2
    for a, b in zip(trained(plain, X), trained(ours, X), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(plain.eval()(X), ours.eval()(X))
    assert all(map(torch.equal, plain.buffers(), ours.buffers())), "nothing moves in eval mode"


@pytest.mark.parametrize("cuts", [(0, 4, 9), (0, 1, 3, 3, 9)], ids=["two", "four"])
def test_processes_agree_with_one(cuts: tuple[int, ...]) -> None:
    value, gradients, running = trained(Network().double(), X)

    def work() -> tuple[Tensor, list[Tensor], list[Tensor]]:
        rank = torch.distributed.get_rank()
        network = DistributedDataParallel(with_global_statistics(Network().double()), broadcast_buffers=False)
        return trained(network, X[cuts[rank] : cuts[rank + 1]])

    found = on_processes(len(cuts) - 1, work)
    torch.testing.assert_close(sum(one for one, _, _ in found), value)
    for _, theirs, statistics in found:
        for ours, expected in zip(theirs, gradients, strict=True):
            # Here the objective is the sum of what the processes return, of which DDP takes the mean.
            torch.testing.assert_close(ours * (len(cuts) - 1), expected, rtol=1e-9, atol=1e-11)
        for ours, expected in zip(statistics, running, strict=True):
            torch.testing.assert_close(ours, expected)


def split(rows: slice) -> tuple[Tensor, list[Tensor]]:
    """What these of twelve rows become with four parts of the batch, and the running statistics."""
    torch.manual_seed(0)
    layer = with_split_statistics(nn.BatchNorm2d(3), 4).double()
    nn.init.normal_(layer.weight)
    return layer(torch.cat([X, X[:3] + 1]).expand(-1, 3, -1, -1)[rows]).detach(), list(layer.buffers())


def test_parts_are_normalized_apart_on_any_number_of_processes() -> None:
    found, running = split(slice(None))
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3).double()
    nn.init.normal_(plain.weight)
    x, parts, means, variances = torch.cat([X, X[:3] + 1]).expand(-1, 3, -1, -1), [], [], []
    for part in x.chunk(4):
        plain.reset_running_stats()
        parts.append(plain(part).detach())
        means.append(plain.running_mean.clone())
        variances.append(plain.running_var.clone())
    torch.testing.assert_close(found, torch.cat(parts))
    torch.testing.assert_close(running[0], torch.stack(means).mean(0))
    torch.testing.assert_close(running[1], torch.stack(variances).mean(0))
    for world in (2, 4):

        def work(size: int = 12 // world) -> tuple[Tensor, list[Tensor]]:
            rank = torch.distributed.get_rank()
            return split(slice(size * rank, size * (rank + 1)))

        several = on_processes(world, work)
        torch.testing.assert_close(torch.cat([y for y, _ in several]), found)
        for _, buffers in several:
            for ours, expected in zip(buffers, running, strict=True):
                torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("parts", "rows"), [(4, 10), (8, 8)])
def test_a_batch_that_cannot_be_parted_is_refused(parts: int, rows: int) -> None:
    layer = with_split_statistics(nn.BatchNorm1d(2), parts)
    with pytest.raises(UserError, match=rf"model.norm_parts is {parts}; it must be a multiple of the 1 processes and"):
        layer(torch.randn(rows, 2))
    assert layer.eval()(torch.randn(rows, 2)).shape == (rows, 2)


def test_rows_are_dealt_out_and_come_back_in_their_order() -> None:
    rows, seen = torch.arange(9.0)[:, None], []
    alone = encode_shuffled(lambda x: seen.append(x.flatten().tolist()) or 2 * x, rows, 1, 2)
    assert torch.equal(alone, 2 * rows) and sorted(seen[0]) == list(range(9)) and seen[0] != sorted(seen[0])

    def work() -> tuple[Tensor, list[list[float]]]:
        met, own = [], slice(0, 4) if torch.distributed.get_rank() == 0 else slice(4, 9)
        back = [
            encode_shuffled(lambda x: met.append(x.flatten().tolist()) or 2 * x, rows[own], step) for step in range(20)
        ]
        assert all(torch.equal(one, back[0]) for one in back)
        return back[0], met

    (ours, first), (theirs, second) = on_processes(2, work)
    assert torch.equal(torch.cat([ours, theirs]), 2 * rows)
    assert all(len(a) == 4 and sorted(a + b) == list(range(9)) for a, b in zip(first, second, strict=True))
    assert len({tuple(a) for a in first}) > 15 and any(set(a) != {0, 1, 2, 3} for a in first)
