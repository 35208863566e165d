"""ResNet-50 as for ImageNet, of any width and for any number of channels."""

import torch
import torchvision
from torch import Tensor, nn

from common.encoders.pretrained import load_exactly
from common.encoders.weights import are_read
from common.errors import UserError
from common.paths import as_path


class ImageNetResNet(nn.Module):
    """ResNet-50 for pictures of 224 pixels, without its classifier.

    Args:
        channels: of the input; colour pictures, three, are normalized by the mean and deviation of ImageNet, others are
            brought from [0, 1] to [-1, 1].
        width: channels of the first stage; 64 as published. The stem keeps its 64, as in the released code of CMC.
        weights: file with torchvision's weights, classifier included; None starts afresh. On the meta device, which
            holds no weights, it is never read.

    Raises:
        UserError: there is no such file, or it holds another architecture.
    """

    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, channels: int = 3, width: int = 64, weights: str | None = None) -> None:
        super().__init__()
        middle = (0.5,) * channels
        scales = (self.MEAN, self.DEVIATION) if channels == 3 else (middle, middle)
        self.normalize = torchvision.transforms.Normalize(*scales)
        self.body = _ScaledResNet(width)
        self.output_dim = 32 * width
        self.body.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.body.conv1.weight, mode="fan_out", nonlinearity="relu")  # as all others
        self.body.fc = nn.Identity()
        if weights is not None and are_read(self.body.conv1.weight):
            file = as_path(weights, "model.weights")
            if not file.is_file():
                raise UserError(f"model.weights: {file} does not exist; torchvision calls it resnet50-0676ba61.pth")
            # Weights of this age do not say how many batches their statistics have seen, which nothing here asks for.
            counts = {n: x for n, x in self.body.state_dict().items() if n.endswith("num_batches_tracked")}
            load_exactly(
                self.body, counts | torch.load(file, map_location="cpu", weights_only=True), "imagenet_resnet50"
            )

    def map(self, pixels: Tensor) -> Tensor:
        """The last feature map, (n, 32 * width, h / 32, w / 32), from float pixels in [0, 1] of (n, channels, h, w)."""
        body, x = self.body, self.normalize(pixels)
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        return body.layer4(body.layer3(body.layer2(body.layer1(x))))

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 32 * width)."""
        return self.body(self.normalize(pixels))


class _ScaledResNet(torchvision.models.ResNet):
    """ResNet-50 with `width` channels in its first stage, and so on."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(torchvision.models.resnet.Bottleneck, [3, 4, 6, 3])

    def _make_layer(self, block, planes, *rest, **named) -> nn.Sequential:
        return super()._make_layer(block, planes * self.width // 64, *rest, **named)
