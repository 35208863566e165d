"""A narrow residual network of bottlenecks for CIFAR-10, as a zoo of Keras models has it."""

from torch import Tensor, nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, all with biases, each before a batch normalization; ReLU after the sum.

    Args:
        inputs: channels that come in.
        middle: channels of the first two convolutions.
        outputs: channels that go out.
        stride: of the 3x3 convolution. A block that changes channels has a 1x1 convolution for its shortcut, without a
            normalization.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(inputs, middle, 1), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, middle, 3, stride, 1), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, outputs, 1), nn.BatchNorm2d(outputs)),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


class CifarBottleneck(nn.Module):
    """A stem of 16 channels and three groups of bottlenecks, 64, 128 and 256 channels wide, each of `blocks`.

    Args:
        channels: colour channels of the input, which is not normalized.
        blocks: of a group; 4 make 38 layers.

    Source: keras-idiomatic-programmer, zoo/resnet/resnet_cifar10.py, which G-SimCLR builds on.
    """

    def __init__(self, channels: int = 3, blocks: int = 4) -> None:
        super().__init__()
        self.output_dim = 256
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        groups: list[nn.Module] = []
        for inputs, middle, outputs, stride in ((16, 16, 64, 1), (64, 64, 128, 2), (128, 128, 256, 2)):
            groups.append(Bottleneck(inputs, middle, outputs, stride))
            groups += [Bottleneck(outputs, middle, outputs) for _ in range(blocks - 1)]
        self.groups = nn.Sequential(*groups)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                nn.init.zeros_(part.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 256)."""
        return self.groups(self.stem(pixels)).mean(dim=(2, 3))
