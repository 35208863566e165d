"""Generated for every registered loss: 2 and 4 processes give the value and the gradient of one."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.distributed import Exchange
from common.losses.examples import WIDTH
from common.losses.registry import Needs
from tests.common.losses.cases import CASES, Case, by_name, call, is_leaf
from tests.common.walks import walking
from tests.pool import run

# Shards of different lengths, so that no position can be told from the rank alone; and a process that has no rows.
SIZES = {2: [(7, 4), (0, 11)], 4: [(4, 2, 3, 2)]}


class Trained(nn.Module):
    """A shared encoder under a loss, whose learnable numbers are parameters too."""

    def __init__(self, case: Case, batch: slice, exchange: Exchange | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(WIDTH, WIDTH, dtype=torch.float64)
        self.example = case.example(11)
        self.numbers = nn.ParameterDict({k: v.detach() for k, v in self.example.shared.items() if is_leaf(v)})
        self.case, self.batch = case, batch
        self.options = {} if exchange is None else {"exchange": exchange}

    def forward(self) -> Tensor:
        """The loss of this process's share of the batch."""
        arguments = {k: self.encoder(v.detach()[self.batch]) for k, v in self.example.embeddings.items()}
        arguments |= {k: v[self.batch] for k, v in self.example.samples.items()}
        arguments |= {**self.example.shared, **self.numbers, **self.options}
        return call(self.case.entry.function, self.example, arguments)


def value_and_gradients(module: nn.Module) -> tuple[Tensor, list[Tensor]]:
    value = module()
    value.backward()
    # A parameter that a loss does not use has no gradient on one process and a zero on several.
    return value.detach(), [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]


def on_this_process(
    name: str, exchange: Exchange | None, sizes: tuple[int, ...], walk: str
) -> tuple[Tensor, list[Tensor]]:
    rank = torch.distributed.get_rank()
    start = sum(sizes[:rank])
    module = Trained(by_name(name), slice(start, start + sizes[rank]), exchange)
    with walking(walk, 2, 3, kept=12):
        return value_and_gradients(DistributedDataParallel(module))


def exchanges(case: Case) -> list[Exchange | None]:
    return {
        Needs.KEYS: [Exchange.GATHER, Exchange.RING],
        Needs.ROWS: [Exchange.GATHER],
        Needs.NOTHING: [None],
    }[case.entry.needs]


@pytest.mark.parametrize("world_size", SIZES)
@pytest.mark.parametrize(
    ("case", "exchange"),
    [pytest.param(case, e, id=f"{case}-{e or 'alone'}") for case in CASES for e in exchanges(case)],
)
def test_processes_agree_with_one(case: Case, exchange: Exchange | None, world_size: int) -> None:
    expected, gradients = value_and_gradients(Trained(case, slice(None), exchange))
    for sizes, walk in product(SIZES[world_size], ("kept", "dense", "reference", "streamed")):
        for value, theirs in run(world_size, on_this_process, str(case), exchange, sizes, walk):
            # The same number is logged on every process, and at any number of them.
            torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
            for ours, reference in zip(theirs, gradients, strict=True):
                torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-11)
