import pytest
import torch

from common.errors import UserError
from common.tiled.tiles import tiling
from papers.scaling.inf_cl.module import InfCL
from papers.scaling.inf_cl.properties import dense, pairs


def test_the_loss_is_clips() -> None:
    module = InfCL(temperature=0.07)
    image, text = pairs(30, 16, 0, torch.float32)
    with tiling(8, 7):
        found = module.contrast(image, text)
    torch.testing.assert_close(found, dense(image, text, torch.tensor(0.07)))


@pytest.mark.parametrize("exchange", ["ring", "gather", "local"])
def test_on_one_process_every_exchange_is_the_same(exchange: str) -> None:
    image, text = pairs(12, 16, 0, torch.float32)
    torch.testing.assert_close(InfCL(exchange=exchange).contrast(image, text), InfCL().contrast(image, text))


def test_an_unknown_exchange_is_named() -> None:
    with pytest.raises(UserError, match="exchange 'star': expected one of local, gather, ring"):
        InfCL(exchange="star")
