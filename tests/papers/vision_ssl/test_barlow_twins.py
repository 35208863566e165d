"""Barlow Twins: the objective end to end against a loop, and what it is blind to."""

import pytest
import torch

from common.batches import Images
from common.losses import barlow_twins
from papers.vision_ssl.barlow_twins.module import BarlowTwins
from tests.oracles import barlow_twins as oracle


def module(**arguments) -> BarlowTwins:
    torch.manual_seed(0)
    made = BarlowTwins(width=8, hidden_dim=7, projection_dim=5, **arguments).double().train()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def batch(n: int = 6) -> Images:
    pixels = torch.rand(2, n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels, torch.arange(n), torch.arange(n))


def test_the_loss_is_that_of_a_loop() -> None:
    twins = module(redundancy=0.1, scale=0.25)
    projected = []
    for view in batch().views:
        x, head = twins.network[0](view), twins.network[1]
        for linear, norm in ((head[0], head[1]), (head[3], head[4])):
            x = x @ linear.weight.T
            x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias
            x = x.clamp(min=0)
        projected.append(x @ head[6].weight.T)
    expected = 0.25 * float(oracle.barlow_twins(*projected, weight=0.1).detach())
    assert float(twins.training_step(batch(), 0).detach()) == pytest.approx(expected, rel=1e-9)


def test_shift_and_scale_of_a_dimension_do_not_matter() -> None:
    a, b = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    moved = a * torch.tensor([1.0, 5.0, 0.3, 2.0]) + torch.tensor([0.0, -3.0, 7.0, 1.0])
    torch.testing.assert_close(barlow_twins(moved, b, eps=0.0), barlow_twins(a, b, eps=0.0))


def test_whitened_views_that_agree_cost_nothing() -> None:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    white = torch.linalg.qr(x - x.mean(0)).Q
    assert float(barlow_twins(white, white, weight=1.0, eps=0.0)) == pytest.approx(0, abs=1e-12)
    same = white[:, :1].expand(-1, 5)
    assert float(barlow_twins(same, same, weight=1.0, eps=0.0)) == pytest.approx(20), "all dimensions say the same"
