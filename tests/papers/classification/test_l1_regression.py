"""L1 regression against a plain loop, in the data's own unit, and the same on several processes."""

import pytest
import torch

from common.batches import Images
from common.errors import UserError
from papers.classification.l1_regression.module import L1Regression
from tests.processes import assert_steps_agree

ANGLES = torch.tensor([-55.0, 12.0, 0.0, 31.5, 60.0, -7.0, 3.0, -20.0])


def batch(own: slice = slice(None), views: int = 2) -> Images:
    pixels = torch.rand(views, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], torch.zeros(8, dtype=torch.int64)[own], torch.arange(8)[own], ANGLES[own])


def module(**arguments) -> L1Regression:
    torch.manual_seed(0)
    made = L1Regression(**{"width": 8, **arguments}).double()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


@pytest.mark.parametrize("views", [1, 3])
def test_the_loss_is_that_of_a_loop(views: int) -> None:
    made, data, total = module(unit=30.0), batch(views=views), 0.0
    for view in data.views:
        for row, angle in zip(view, ANGLES.tolist(), strict=True):
            said = made.regressor.weight[0] @ made.encoder(row[None])[0] + made.regressor.bias[0]
            total += abs(float(said.detach()) - angle / 30)
    assert float(made.training_step(data, 0).detach()) == pytest.approx(total / (8 * views), rel=1e-6)


def test_what_is_told_is_in_the_unit_of_the_data() -> None:
    made, pixels = module(unit=30.0).float(), torch.randint(256, (5, 1, 16, 16), dtype=torch.uint8)
    said = made.tell_image(pixels)
    assert said.shape == (5,) and made.embed_image(pixels).shape == (5, 32)
    torch.testing.assert_close(said, 30 * module(unit=1.0).float().tell_image(pixels))
    truth = said.detach().repeat(1)
    data = Images(pixels[None] / 255, torch.zeros(5, dtype=torch.int64), torch.arange(5), truth)
    assert made.training_step(data, 0) < 1e-6


@pytest.mark.parametrize("cuts", [(0, 5, 8), (0, 2, 3, 7, 8)], ids=["two", "four"])
def test_processes_agree_with_one(cuts: tuple[int, ...]) -> None:
    assert_steps_agree(cuts, lambda: module(encoder="deep_convnet_batch"), batch)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(UserError, match=r"model\.unit 0: expected a finite number above 0"):
        module(unit=0)
    with pytest.raises(UserError, match="tells a quantity of each picture, and the data names none"):
        module().training_step(batch()._replace(targets=None), 0)
