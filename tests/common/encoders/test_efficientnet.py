"""EfficientNet: torchvision's B7 without its head, and L2's published width."""

import torch
import torchvision

from common.encoders.efficientnet import EfficientNet
from common.encoders.image import image_encoder


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_b7_has_the_weights_of_torchvisions_up_to_its_head() -> None:
    with torch.device("meta"):
        ours, theirs = EfficientNet("b7"), torchvision.models.efficientnet_b7().features[:-1]
    shapes = [{name: x.shape for name, x in body.state_dict().items()} for body in (ours.body, theirs)]
    assert shapes[0] == shapes[1] and ours.output_dim == 640
    norms = [[(m.eps, m.momentum) for m in b.modules() if hasattr(m, "running_mean")] for b in (ours.body, theirs)]
    assert norms[0] == norms[1]


def test_l2_is_1376_wide() -> None:
    with torch.device("meta"):
        encoder = image_encoder("efficientnet_l2", 3)
        assert encoder.output_dim == 1376
        assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, 1376)


def test_another_number_of_channels_changes_the_first_convolution_alone() -> None:
    with torch.device("meta"):
        grey = EfficientNet("b7", 1)
        assert grey(torch.zeros(1, 1, 64, 64)).shape == (1, 640)
        assert size(EfficientNet("b7")) - size(grey) == 2 * 64 * 9
