"""Rates that begin anew with each task, and parameters that begin to learn later."""

import pytest
import torch
from torch import Tensor, nn

from common.training.late import average_gradients, awake, rates_anew, task_at
from common.training.method import warmup_decay
from tests.processes import on_processes


def test_each_task_has_a_warm_up_and_a_decay_of_its_own() -> None:
    factor = rates_anew([0, 10, 14], 30, 0.5, "cosine")
    expected = [warmup_decay(n, 0.5, "cosine")(step) for n in (10, 4, 16) for step in range(n)]
    assert [factor(step) for step in range(30)] == pytest.approx(expected)
    assert [task_at([0, 10, 14], step) for step in (0, 9, 10, 13, 14, 29)] == [0, 0, 1, 1, 2, 2]


def test_what_sleeps_is_awake_for_the_optimizer_alone() -> None:
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    layer.requires_grad_(False)
    with awake([*layer.parameters(), *other.parameters()]):
        assert all(p.requires_grad for p in layer.parameters())
    assert not any(p.requires_grad for p in layer.parameters()) and all(p.requires_grad for p in other.parameters())


def test_gradients_are_averaged_over_processes() -> None:
    def work() -> tuple[Tensor, None]:
        weight, without = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(1))
        weight.grad = torch.arange(3.0) * (1 + torch.distributed.get_rank())
        average_gradients([weight, without])
        return weight.grad, without.grad

    for grad, none in on_processes(2, work):
        assert torch.equal(grad, 1.5 * torch.arange(3.0)) and none is None
