"""Focal contrast against a plain loop, its weights on several processes, and what is refused."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from common.distributed import rank, world_size
from common.errors import UserError
from papers.vision_language.soft_masks.module import FocalCLIP
from papers.vision_language.soft_masks.properties import PAIRS, focal, gradient, pairs
from tests.processes import on_processes

Weights = Literal["live", "detached", "exchanged"]
WEIGHTS: tuple[Weights, ...] = ("live", "detached", "exchanged")


def loop(image: Tensor, text: Tensor, temperature: float, gamma: float, before: int) -> float:
    """The loss, number by number, a pair with the weights of the one so many places before it."""
    x, y, n = image.tolist(), text.tolist(), len(image)
    scores = [[sum(a * b for a, b in zip(p, q, strict=True)) / temperature for q in y] for p in x]
    total = 0.0
    for direction in (scores, list(zip(*scores, strict=True))):
        p = [math.exp(row[i]) / sum(map(math.exp, row)) for i, row in enumerate(direction)]
        total -= sum((1 - p[i - before]) ** gamma * math.log(p[i]) for i in range(n)) / (2 * n)
    return total


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("gamma", "temperature"), [(0.0, 0.1), (1.0, 0.05), (2.0, 0.1), (0.5, 1.0)])
def test_the_loss_is_that_of_a_loop(weights: Weights, gamma: float, temperature: float) -> None:
    image, text = (x.detach() for x in pairs(0))
    found, before = focal(gamma, weights, temperature).contrast(image, text), int(weights == "exchanged")
    # The temperature at the start is rounded to float32.
    assert found.item() == pytest.approx(loop(image, text, temperature, gamma, before), rel=1e-5)


def test_weights_without_a_gradient_leave_the_value_alone() -> None:
    leaves = pairs(1)
    live, detached = (focal(2.0, weights).contrast(*leaves) for weights in ("live", "detached"))
    torch.testing.assert_close(live, detached)
    assert float((gradient(live, leaves) - gradient(detached, leaves)).abs().max()) > 1e-3


@pytest.mark.parametrize("weights", WEIGHTS)
def test_two_uneven_processes_give_the_loss_of_one(weights: Weights) -> None:
    def step() -> Tensor:
        cut = [0, PAIRS] if world_size() == 1 else [0, 5, PAIRS]
        rows = slice(cut[rank()], cut[rank() + 1])
        return focal(2.0, weights).contrast(*(x.detach()[rows] for x in pairs(2))).detach()

    alone = step()
    for found in on_processes(2, step):
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_pairs_that_are_found_for_certain_stay_finite(weights: Weights) -> None:
    rows = torch.eye(6).requires_grad_()
    module = FocalCLIP(
        image_encoder="small_convnet", text_encoder="bag_of_words", gamma=0.5, weights=weights, temperature=0.01
    )
    loss = module.contrast(rows, 1.0 * rows)
    (slope,) = torch.autograd.grad(loss, rows)
    assert bool(loss.isfinite()) and bool(slope.isfinite().all())


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.gamma -1.0: expected"):
        FocalCLIP(gamma=-1.0)
    with pytest.raises(UserError, match=r"model.weights is 'soft'; it must be"):
        FocalCLIP(weights="soft")
    with pytest.raises(UserError, match=r"label_smoothing is 0.1; FocalCLIP has none"):
        FocalCLIP(label_smoothing=0.1)
