"""Skip-gram: the loss of a loop, first values, processes; and vectors that are counted."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import WordPairs
from common.distributed import rank, world_size
from common.errors import UserError
from papers.sentence.skip_gram.module import PpmiSvd, SkipGram
from tests.processes import on_processes

U, V = torch.tensor([0, 3, 5, 1]), torch.tensor([2, 4, 0, 1])
NOISE = torch.tensor([[1, 2, 2], [4, 0, 5], [3, 3, 1], [0, 1, 2]])


def module(**arguments) -> SkipGram:
    torch.manual_seed(0)
    found = SkipGram(words=6, dim=4, **arguments).double()
    for table in (found.vectors, found.contexts):
        if table is not None:
            torch.nn.init.normal_(table.weight)
    return found


@pytest.mark.parametrize("tables", [1, 2])
def test_the_loss_is_that_of_a_loop(tables: int) -> None:
    method = module(tables=tables)
    rows = method.vectors.weight.tolist()
    contexts = (method.contexts or method.vectors).weight.tolist()

    def log_sigmoid(u: list[float], v: list[float], sign: int) -> float:
        return -math.log1p(math.exp(-sign * sum(x * y for x, y in zip(u, v, strict=True))))

    expected = []
    for u, v, noise in zip(U.tolist(), V.tolist(), NOISE.tolist(), strict=True):
        loss = -log_sigmoid(rows[u], contexts[v], 1)
        expected.append(loss - sum(log_sigmoid(rows[u], contexts[n], -1) for n in noise if n != v))
    assert method.contrast(U, V, NOISE).tolist() == pytest.approx(expected, rel=1e-10)


def test_first_values_are_those_of_word2vec() -> None:
    method = SkipGram(words=300, dim=20)
    assert not method.contexts.weight.any() and 0.024 < method.vectors.weight.abs().max().item() <= 0.025
    assert len(method.embed_symbols()) == 300 and SkipGram(words=5, tables=1).contexts is None


def shares() -> tuple[Tensor, Tensor]:
    """The sum over all pairs, whose noise is by the pair and not by the process."""
    share = slice(4 * rank() // world_size(), 4 * (rank() + 1) // world_size())
    method = module(negatives=3)
    method.log_loss = lambda loss: loss
    method.key = lambda purpose: (1, 2)
    loss = method.training_step(WordPairs(U[share], V[share], torch.arange(4)[share]), 0)
    return loss.detach(), torch.autograd.grad(loss / world_size(), method.vectors.weight)[0]


def test_processes_share_the_pairs() -> None:
    value, gradient = shares()
    found = on_processes(2, shares)
    assert all(float(part[0]) == pytest.approx(float(value), rel=1e-10) for part in found)
    torch.testing.assert_close(sum(part[1] for part in found), gradient)


def test_what_is_out_of_range_is_refused() -> None:
    for arguments, message in (
        ({"tables": 3}, "model.tables is 3; it must be 1 or 2"),
        ({"negatives": 0}, "model.negatives 0: expected"),
        ({"dim": 1}, "model.dim 1: expected"),
        ({"sgd_momentum": 1.0}, "model.sgd_momentum is 1.0; it must be at least 0 and below 1"),
    ):
        with pytest.raises(UserError, match=message):
            SkipGram(words=5, **arguments)
    with pytest.raises(UserError, match=r"trainer\.max_steps must be 0"):
        PpmiSvd(words=5).training_step(WordPairs(U, V, U), 0)
