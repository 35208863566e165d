"""EfficientNet as a feature extractor, without the convolution and the classifier of its head."""

from functools import partial
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.efficientnet import MBConvConfig

# Of the smallest one: expansion, kernel, stride, channels in and out, layers.
_STAGES = (
    *((1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3)),
    *((6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1)),
)
_SCALES = {"b7": (2.0, 3.1), "l2": (4.3, 5.3)}


class EfficientNet(nn.Module):
    """EfficientNet-B7 or -L2 up to its last stage, averaged over places; torchvision's blocks, from random weights.

    Args:
        scale: "b7", 640 wide and with 62 million parameters, or "l2", 1,376 wide.
        channels: colour channels of the pictures; those of three are normalized by ImageNet's mean and deviation.

    Source: Tan and Le 2019; the scale of L2 Xie et al. 2020 (Noisy Student).
    """

    def __init__(self, scale: Literal["b7", "l2"] = "b7", channels: int = 3) -> None:
        super().__init__()
        width, depth = _SCALES[scale]
        stages = [MBConvConfig(*stage, width_mult=width, depth_mult=depth) for stage in _STAGES]
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        features = torchvision.models.EfficientNet(stages, dropout=0.0, num_classes=1, norm_layer=norm).features
        self.output_dim = stages[-1].out_channels
        self.body = features[:-1]
        self.normalized = channels == 3
        if not self.normalized:
            first = self.body[0][0]
            self.body[0][0] = nn.Conv2d(channels, first.out_channels, 3, stride=2, padding=1, bias=False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, output_dim)."""
        pixels = (pixels - self.mean) / self.deviation if self.normalized else pixels
        return self.body(pixels).mean(dim=(2, 3))
