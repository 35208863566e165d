"""SigLIP's loss is its algorithm's, its numbers are learnt without decay, and its bias starts where the pairs are."""

import math

import pytest
import torch
from torch import Tensor

from common.tiled.tiles import tiling
from papers.scaling.siglip.module import SigLIP
from papers.scaling.siglip.properties import algorithm, pairs


@pytest.mark.parametrize("tiles", [(8, 7, 0), (512, 512, 10**6)], ids=["chunks", "whole"])
@pytest.mark.parametrize("bias", [-10.0, -3.4, None])
def test_the_loss_is_algorithm_1(bias: float | None, tiles: tuple[int, int, int]) -> None:
    image, text = pairs(30, 0, torch.float32)
    log_scale, start = torch.tensor([math.log(10), bias or 0.0])
    with tiling(*tiles):
        found = SigLIP(bias=bias).contrast(image, text)
    torch.testing.assert_close(found, algorithm(image, text, log_scale, start))


def test_scale_and_bias_are_learnt_without_decay_at_their_own_rate() -> None:
    module = SigLIP(lr=1e-3, scalar_lr=10.0, weight_decay=0.1)
    (scalars,) = [g for g in module.parameter_groups() if g["params"][0].ndim == 0]
    assert {id(p) for p in scalars["params"]} == {id(module.bias), id(module.temperature.log_temperature)}
    assert scalars["weight_decay"] == 0.0 and scalars["lr"] == pytest.approx(1e-2)
    assert not any(name == "bias" for name, _ in SigLIP(bias=None).named_parameters())


def test_the_scale_may_pass_the_bound_of_clip() -> None:
    module = SigLIP()
    with torch.no_grad():
        module.temperature.log_temperature.fill_(math.log(0.004))
    image, text = pairs(30, 0, torch.float32)
    expected = algorithm(image, text, torch.tensor(math.log(250)), torch.tensor(-10.0))
    torch.testing.assert_close(module.contrast(image, text), expected)


@pytest.mark.parametrize("batch", [32, 8192])
def test_the_bias_is_at_rest_where_it_is_the_log_odds_of_a_pair(batch: int) -> None:
    """Before anything is learnt a bias above -log(batch - 1) is pushed down, one below it up."""

    def push(bias: float) -> Tensor:
        module = SigLIP(bias=bias)
        image, text = torch.eye(2)[0].expand(batch, 2), torch.eye(2)[1].expand(batch, 2)  # every cosine is 0
        module.contrast(image, text).backward()
        return module.bias.grad

    rest = -math.log(batch - 1)
    assert abs(push(rest)) < 1e-3 < push(rest + 0.1) and push(rest - 0.1) < -1e-3
