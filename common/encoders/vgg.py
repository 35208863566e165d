"""VGG: convolutions and pooling, then two wide layers with dropout."""

from typing import Literal

import torchvision
from torch import Tensor, nn


class Vgg(nn.Module):
    """VGG-11 or VGG-16 with batch normalization up to its last hidden layer, as torchvision builds it.

    Of pictures of 32 pixels the five poolings leave a single place, which is repeated 7 x 7 times before the wide
    layers, as torchvision does it.

    Args:
        channels: colour channels of the input, whose pixels are mapped to [-1, 1].
        depth: 11 or 16 layers.
    """

    def __init__(self, channels: int = 3, depth: Literal[11, 16] = 11) -> None:
        super().__init__()
        self.output_dim = 4096
        self.body = torchvision.models.vgg11_bn() if depth == 11 else torchvision.models.vgg16_bn()
        if channels != 3:
            self.body.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
        self.body.classifier = self.body.classifier[:-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 4096)."""
        return self.body(2 * pixels - 1)
