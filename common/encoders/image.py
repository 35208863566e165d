"""Image encoders: pixels in, one vector an image out."""

from itertools import pairwise
from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.bottleneck import CifarBottleneck
from common.encoders.convnext import ConvNeXt
from common.encoders.efficientnet import EfficientNet
from common.encoders.imagenet import ImageNetResNet
from common.encoders.names import OwnEncoder, check_encoder
from common.encoders.own import OwnImageEncoder, own_image_encoder
from common.encoders.pooling import Read
from common.encoders.vgg import Vgg
from common.encoders.vit import ClipVisionTransformer, VisionTransformer
from common.errors import UserError


class ResidualBlock(nn.Module):
    """The basic block of He et al. (2016) with group normalization.

    Groups instead of batches: the output for an image then depends on that image alone, so a contrastive loss cannot
    read the batch's statistics, and one process and several compute the same thing.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(min(8, outputs // 4), outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(min(8, outputs // 4), outputs)
        changed = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network for small pictures on a laptop: a stem and three blocks, about 0.3 M parameters at width 32.

    On a processor it goes through a batch in pieces, which comes to the same, since no picture depends on another, and
    saves up to a fifth of the time.

    Args:
        channels: colour channels of the input.
        width: channels of the first stage; the second and third have two and four times as many.
        stem_stride: 2 halves the resolution at once, which pays for pictures of 28 pixels and more.
    """

    PIECE = 100_000
    """Pixels that a processor takes at once: their activations stay in its cache."""

    def __init__(self, channels: int = 1, width: int = 32, stem_stride: int = 2) -> None:
        super().__init__()
        self.output_dim = 4 * width
        self.stem = nn.Conv2d(channels, width, 3, stem_stride, 1, bias=False)
        self.norm = nn.GroupNorm(min(8, width // 4), width)
        self.stages = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )

    def map(self, pixels: Tensor) -> Tensor:
        """The last feature map, (n, 4 * width, h / 8, w / 8), from float pixels in [0, 1] of shape (n, channels, h, w).

        With `stem_stride` 1 it is twice as fine.
        """
        pieces = [pixels]
        if pixels.device.type == "cpu":
            pieces = pixels.split(max(8, self.PIECE // pixels.shape[-2:].numel()))
        maps = [self.stages(F.relu(self.norm(self.stem(piece - 0.5)))) for piece in pieces]
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 4 * width)."""
        return self.map(pixels).mean(dim=(2, 3))


class SmallConvNet(nn.Module):
    """Three convolutions of stride 2 with group normalization: the smallest tower, for pictures of 24 pixels.

    Args:
        channels: colour channels of the input.
        width: channels of the first layer; the second and third have two and four times as many.
        parts: the last map is averaged over each of parts x parts fields, which keeps where something is.
    """

    def __init__(self, channels: int = 3, width: int = 32, parts: int = 1) -> None:
        super().__init__()
        self.output_dim = 4 * width * parts**2
        self.parts = parts
        widths = (channels, width, 2 * width, 4 * width)
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, 3, 2, 1, bias=False) for pair in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(min(8, outputs // 4), outputs) for outputs in widths[1:])

    def map(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to the features (n, 4 * width, h / 8, w / 8)."""
        # Channels last, which is the faster order for convolutions on a processor.
        x = (pixels - 0.5).contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return x

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 4 * width * parts^2)."""
        return self._pooled(self.map(pixels))

    def _pooled(self, features: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(features, self.parts).flatten(1)

    @property
    def state_dim(self) -> int:
        """Width of the states of `with_states`."""
        return self.convolutions[-1].out_channels

    def with_states(self, pixels: Tensor) -> Read:
        """The vectors, and what stands at each place of the last map, row by row."""
        features = self.map(pixels)
        return Read(self._pooled(features), features.flatten(2).transpose(1, 2))


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1 whatever its weights are.

    Source: Qiao et al. 2019 (Weight Standardization), the released PyTorch layer, with its 1e-5 beside the deviation.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (deviation + 1e-5), self.bias)


class DeepConvNet(nn.Module):
    """Five 3x3 convolutions, three of them of stride 2: a tower for self-supervision on pictures of 28 and 32 pixels.

    About 107,000 parameters at width 16; 800 steps of 64 pictures in two views take some 20 seconds.

    Args:
        channels: colour channels of the input.
        width: channels of the first layer; the others have two, two, four and eight times as many.
        norm: behind each convolution: over the "batch", whose statistics are the evaluated mode's too; over "group"s of
            eight channels of each picture alone; or "none", and biases instead.
        standardized: the convolutions are `StandardizedConv2d`.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 16,
        norm: Literal["batch", "group", "none"] = "batch",
        standardized: bool = False,
    ) -> None:
        super().__init__()
        conv = StandardizedConv2d if standardized else nn.Conv2d
        self.output_dim = 8 * width
        widths = (channels, width, 2 * width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise(widths), (2, 2, 1, 2, 1), strict=True):
            convolution = conv(inputs, outputs, 3, stride, 1, bias=norm == "none")
            layers.append(convolution)
            if norm == "batch":
                layers.append(nn.BatchNorm2d(outputs))
            elif norm == "group":
                layers.append(nn.GroupNorm(max(1, outputs // 8), outputs))
            else:
                # PyTorch's own start loses two thirds of the variance a layer, which no norm restores here.
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers.append(nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*layers)

    def map(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to the features (n, 8 * width, h / 8, w / 8)."""
        return self.layers((pixels - 0.5).contiguous(memory_format=torch.channels_last))

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, 8 * width)."""
        return self.map(pixels).mean(dim=(2, 3))


class CifarResNet(nn.Module):
    """A ResNet with the CIFAR stem: a 3x3 first convolution of stride 1, no max-pooling, no classifier.

    Pictures in colour are normalized by the mean and deviation of CIFAR-10, as in SupContrast.

    Args:
        channels: colour channels of the input.
        depth: 18 or 34 layers, of which come 512 numbers, or 50 and 2,048.
    """

    MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

    def __init__(self, channels: int = 3, depth: Literal[18, 34, 50] = 50) -> None:
        super().__init__()
        if channels == 3:
            self.normalize = torchvision.transforms.Normalize(self.MEAN, self.DEVIATION)
        else:
            self.normalize = nn.Identity()
        self.body = getattr(torchvision.models, f"resnet{depth}")()
        self.output_dim = self.body.fc.in_features
        self.body.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(self.body.conv1.weight, mode="fan_out", nonlinearity="relu")  # as all others
        self.body.maxpool = nn.Identity()
        self.body.fc = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(self.normalize(pixels))


class StlResNet(CifarResNet):
    """ResNet-18 for pictures of 96 pixels: the stem of `CifarResNet`, max-pooling, and dropout behind each block.

    Args:
        channels: colour channels of the input; three are normalized by the mean and deviation of ImageNet.
        dropout: share of the numbers that are put to 0 in training.
    """

    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, channels: int = 3, dropout: float = 0.15) -> None:
        super().__init__(channels, 18)
        self.body.maxpool = nn.MaxPool2d(3, 2, 1)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            blocks = (part for block in getattr(self.body, name) for part in (block, nn.Dropout(dropout)))
            setattr(self.body, name, nn.Sequential(*blocks))


class SmallAlexNet(nn.Module):
    """AlexNet for small pictures, batch normalization after each layer: five convolutions and two layers of 4,096.

    Pictures in colour are normalized as by `CifarResNet`.

    Source: the released code of Wang and Isola 2020, for pictures of 64 pixels; that of Zheng et al. 2023 (CACR) has it
    for 32.

    Args:
        channels: colour channels of the input.
        image_size: side of the pictures, at least 15.
    """

    def __init__(self, channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        self.output_dim = 4096
        normalize = torchvision.transforms.Normalize(CifarResNet.MEAN, CifarResNet.DEVIATION)
        layers: list[nn.Module] = [normalize] if channels == 3 else []
        widths = (channels, 96, 192, 384, 384, 192)
        for (inputs, outputs), pooled in zip(pairwise(widths), (True, True, False, False, True), strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if pooled else []
        layers.append(nn.Flatten())
        side = (image_size + 1) // 8 - 1  # what pooling over 3 in steps of 2 leaves, three times
        for inputs, outputs in pairwise((192 * side**2, 4096, 4096)):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


def to_float(pixels: Tensor) -> Tensor:
    """Maps uint8 pixels to [0, 1], the range in which augmented views reach the encoders."""
    return pixels.float() / 255


ImageEncoderName = (
    Literal[
        "small_resnet",
        "small_convnet",
        "small_convnet_2x2",
        "deep_convnet_batch",
        "deep_convnet_group",
        "deep_convnet_group_ws",
        "deep_convnet_plain",
        "stl_resnet18",
        "cifar_resnet18",
        "cifar_resnet34",
        "cifar_resnet50",
        "cifar_bottleneck38",
        "imagenet_resnet50",
        "small_alexnet",
        "vgg11",
        "vgg16",
        "vit_mini",
        "vit_b16",
        "vit_small_mean",
        "vit_b16_mean",
        "clip_vit_b32",
        "convnext_base",
        "efficientnet_b7",
        "efficientnet_l2",
    ]
    | OwnEncoder
    | str
)
"""One of these, or an encoder of one's own: `OwnEncoder`, or its name alone."""

IMAGE_ENCODERS: tuple[str, ...] = get_args(get_args(ImageEncoderName)[0])


def image_encoder(
    name: ImageEncoderName, channels: int, width: int = 32, image_size: int = 32, weights: str | None = None
) -> (
    SmallResNet
    | SmallConvNet
    | DeepConvNet
    | CifarResNet
    | CifarBottleneck
    | ImageNetResNet
    | SmallAlexNet
    | Vgg
    | VisionTransformer
    | ClipVisionTransformer
    | ConvNeXt
    | EfficientNet
    | OwnImageEncoder
):
    """Builds the encoder that a recipe names; `encoder.output_dim` is the width of its vectors.

    Where it normalizes batches, a module says over what: `with_global_statistics`, or `with_split_statistics`.

    Args:
        name: "vit_mini" has 4 layers of width 96 over patches of 8 pixels, "vit_b16" is ViT-B/16, both in
            SigLIP's shape; "vit_b16_mean" is the mean of the latter's patches, and "vit_small_mean" that of 2 layers of
            width 64 over patches of 4 pixels behind two convolutions. "clip_vit_b32" is CLIP's own ViT-B/32. Or an
            encoder of one's own, see `OwnEncoder`.
        channels: colour channels of the pictures.
        width: of the first stage of "small_resnet", "small_convnet", "deep_convnet" and "imagenet_resnet50", which as
            published has 64; "small_convnet_2x2" is averaged over each quarter of the picture, and of "deep_convnet"
            the name says which norm it has, and "ws" that its filters are standardized.
        image_size: side of the pictures, for the vision transformers and "small_alexnet".
        weights: the weights to start from: a folder for "convnext_base", which takes colour pictures alone, a file for
            "imagenet_resnet50".

    Raises:
        UserError: weights for an encoder that has no published ones here, or not three channels for ConvNeXt; an
            unknown name, or one's own encoder cannot be built, see `own_image_encoder`.
    """
    check_encoder("encoder", name, IMAGE_ENCODERS)
    if weights is not None and name not in ("convnext_base", "imagenet_resnet50"):
        raise UserError(f"model.weights is {weights!r}; {name} starts from none")
    match name:
        case "small_resnet":
            return SmallResNet(channels, width)
        case "small_convnet":
            return SmallConvNet(channels, width)
        case "small_convnet_2x2":
            return SmallConvNet(channels, width, parts=2)
        case "deep_convnet_batch":
            return DeepConvNet(channels, width, "batch")
        case "deep_convnet_group":
            return DeepConvNet(channels, width, "group")
        case "deep_convnet_group_ws":
            return DeepConvNet(channels, width, "group", standardized=True)
        case "deep_convnet_plain":
            return DeepConvNet(channels, width, "none")
        case "stl_resnet18":
            return StlResNet(channels)
        case "cifar_resnet18":
            return CifarResNet(channels, 18)
        case "cifar_resnet34":
            return CifarResNet(channels, 34)
        case "cifar_resnet50":
            return CifarResNet(channels, 50)
        case "cifar_bottleneck38":
            return CifarBottleneck(channels)
        case "imagenet_resnet50":
            return ImageNetResNet(channels, width, weights)
        case "small_alexnet":
            return SmallAlexNet(channels, image_size)
        case "vgg11":
            return Vgg(channels)
        case "vgg16":
            return Vgg(channels, 16)
        case "vit_mini":
            return VisionTransformer(image_size, 8, 96, 4, 3, channels)
        case "vit_b16":
            return VisionTransformer(image_size, 16, 768, 12, 12, channels)
        case "vit_small_mean":
            return VisionTransformer(image_size, 4, 64, 2, 4, channels, pooled=False, stem=16, by_place=True)
        case "vit_b16_mean":
            return VisionTransformer(image_size, 16, 768, 12, 12, channels, pooled=False)
        case "clip_vit_b32":
            return ClipVisionTransformer(image_size)
        case "convnext_base":
            if channels != 3:
                raise UserError(f"convnext_base takes pictures of 3 channels; these have {channels}")
            return ConvNeXt(weights=weights)
        case "efficientnet_b7":
            return EfficientNet("b7", channels)
        case "efficientnet_l2":
            return EfficientNet("l2", channels)
        case _:
            return own_image_encoder(name, channels, image_size)
