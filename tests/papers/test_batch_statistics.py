"""Whatever the encoder, a batch is normalized by statistics that do not hang on how many processes share it."""

import importlib
import inspect
import typing
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.batches import Images
from common.encoders.heads import Projected, normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder
from common.encoders.norms import ReplacedBatchNorm
from common.training.method import Method
from papers.classification.cross_entropy.module import CrossEntropy
from papers.classification.supcon.module import SupCon
from papers.vision_ssl.simclr.module import SimCLR
from tests.processes import assert_steps_agree

ROOT = Path(__file__).parents[2]
GROUND = {"encoder": "deep_convnet_batch", "width": 8, "projection_dim": 5, "normalized_head": True}


def names_encoder(annotation: object) -> bool:
    """Whether it is `ImageEncoderName`, or that and others."""
    return typing.get_args(ImageEncoderName)[0] in typing.get_args(annotation)


def arguments(method: type[Method]) -> dict[str, object]:
    """An encoder that normalizes batches, and a head that does, for each that the method takes."""
    taken = inspect.signature(method).parameters
    found = {name: "deep_convnet_batch" for name, p in taken.items() if names_encoder(p.annotation)}
    return found | ({"normalized_head": True} if found and "normalized_head" in taken else {})


def methods() -> list[type[Method]]:
    """Those that take an image encoder by its name."""
    paths = (".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sorted(ROOT.glob("papers/*/*/module.py")))
    classes = [c for path in paths for c in vars(importlib.import_module(path)).values() if inspect.isclass(c)]
    return sorted({c for c in classes if issubclass(c, Method) and arguments(c)}, key=lambda c: c.__name__)


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.__name__)
def test_no_layer_goes_by_what_one_process_holds(method: type[Method]) -> None:
    parts = list(method(**arguments(method)).modules())
    assert any(isinstance(part, ReplacedBatchNorm) for part in parts)
    assert not any(isinstance(part, _BatchNorm) for part in parts)


def batch(own: slice = slice(None)) -> Images:
    pixels = torch.rand(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], torch.tensor([0, 2, 1, 2, 2, 0, 1, 1])[own], torch.arange(8)[own])


def ready(method: type[Method]) -> Method:
    torch.manual_seed(0)
    module = method(**{k: v for k, v in GROUND.items() if k in inspect.signature(method).parameters}).double().train()
    module.log_loss, module.key = lambda loss: loss, lambda _: (0,)  # without a trainer there is no log and no step
    return module


@pytest.mark.parametrize("cuts", [(0, 5, 8), (0, 2, 3, 7, 8)], ids=["two", "four"])
@pytest.mark.parametrize("method", [SimCLR, SupCon, CrossEntropy], ids=lambda method: method.__name__)
def test_on_the_ground_processes_agree_with_one(method: type[Method], cuts: tuple[int, ...]) -> None:
    assert_steps_agree(cuts, partial(ready, method), batch)


@pytest.mark.parametrize("method", [SimCLR, SupCon], ids=lambda method: method.__name__)
def test_on_one_process_nothing_has_changed(method: type[Method]) -> None:
    torch.manual_seed(0)
    module = method(**GROUND)
    torch.manual_seed(0)
    plain = Projected(image_encoder("deep_convnet_batch", 1, 8), 5, partial(normalized_mlp, 64))
    assert any(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
    views = batch().views.flatten(0, 1).float()
    for mode in (True, False):
        assert torch.equal(module.network.train(mode)(views), plain.train(mode)(views))
    assert [name for name, _ in module.network.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(map(torch.equal, module.network.state_dict().values(), plain.state_dict().values()))
