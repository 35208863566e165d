"""Image encoders for fusion: a picture as a vector of the whole and one of each patch."""

import re
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer as Body

from common.encoders.image import SmallConvNet, SmallResNet
from common.encoders.pretrained import load_exactly
from common.encoders.weights import are_read
from common.errors import UserError
from common.paths import as_path

PatchEncoderName = Literal["small_resnet", "small_convnet", "vit_mini", "vit_b16"]

POSITIONS = "encoder.pos_embedding"
"""The end of the name of the position embeddings of `ClassTokenViT`."""
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClassTokenViT(nn.Module):
    """The vision transformer of Dosovitskiy et al. 2021, pre-norm, with a class token; B/16 at 256 pixels has 85.8 M.

    Args:
        image_size: side of the pictures in pixels.
        patch_size: side of a patch; divides `image_size`.
        width: d of the states.
        layers: transformer layers; the feed-forward part is four times as wide as the states.
        heads: attention heads; they divide `width`.
        weights: folder with a `model.safetensors` in timm's names, such as DeiT's; None starts afresh. Positions are
            interpolated to `image_size`. On the meta device, which holds no weights, it is never read.

    Raises:
        UserError: the picture cannot be cut into whole patches, or the folder holds no such model.
    """

    def __init__(
        self, image_size: int, patch_size: int, width: int, layers: int, heads: int, weights: str | None = None
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise UserError(f"image_size is {image_size}; it must be a multiple of the patches' {patch_size} pixels")
        self.width = width
        self.body = Body(image_size, patch_size, layers, heads, width, 4 * width)
        self.body.heads = nn.Identity()
        if weights is not None and are_read(self.body.class_token):
            tensors = _read(as_path(weights, "model.weights") / "model.safetensors")
            tensors[POSITIONS] = fit_positions(tensors[POSITIONS], self.body.encoder.pos_embedding)
            load_exactly(self.body, tensors, "vit")

    def forward(self, pixels: Tensor) -> Tensor:
        """States (n, 1 + patches, d), the class token's first, from float pixels in [0, 1] of shape (n, 3, h, w)."""
        mean, deviation = (pixels.new_tensor(x)[:, None, None] for x in (_MEAN, _DEVIATION))
        patches = self.body.conv_proj((pixels - mean) / deviation).flatten(2).transpose(1, 2)
        return self.body.encoder(torch.cat([self.body.class_token.expand(len(pixels), -1, -1), patches], dim=1))


class ConvolutionalPatches(nn.Module):
    """The last map of a small convolutional network: its mean, then its positions, mapped to one width.

    Learns far faster than a transformer where pictures are few; a vector for each place tells the places apart.

    Args:
        body: a network whose `map` has an eighth of the picture's sides, and `output_dim` channels.
        image_size: side of the pictures in pixels, a multiple of 8.
        width: d of the states.

    Raises:
        UserError: `image_size` is no multiple of 8.
    """

    def __init__(self, body: SmallResNet | SmallConvNet, image_size: int, width: int) -> None:
        super().__init__()
        if image_size % 8:
            raise UserError(f"image_size is {image_size}; it must be a multiple of 8 pixels")
        self.width = width
        self.body = body
        self.project = nn.Linear(body.output_dim, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1 + (image_size // 8) ** 2, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """States (n, 1 + patches, d), that of the whole first, from float pixels in [0, 1] of shape (n, 3, h, w)."""
        grid = self.body.map(pixels).flatten(2).transpose(1, 2)
        whole = torch.cat([grid.mean(dim=1, keepdim=True), grid], dim=1)
        return self.norm(self.project(whole) + self.positions)


def patch_encoder(
    name: PatchEncoderName, image_size: int, width: int = 96, channels: int = 16, weights: str | None = None
) -> ClassTokenViT | ConvolutionalPatches:
    """Builds the encoder that a recipe names; `encoder.width` is that of its states.

    Args:
        name: "small_resnet", "small_convnet", "vit_mini" (4 layers, patches of 8 pixels) or "vit_b16" (12 layers of
            width 768).
        image_size: side of the pictures in pixels.
        width: of the states; that of "vit_b16" is 768.
        channels: of the small convolutional networks' first stage.
        weights: folder with the weights that "vit_b16" starts from.

    Raises:
        UserError: an unknown name, or weights for an encoder that has no published ones here.
    """
    if name not in get_args(PatchEncoderName):
        raise UserError(f"image_encoder is {name!r}; it must be one of {', '.join(get_args(PatchEncoderName))}")
    if weights is not None and name != "vit_b16":
        raise UserError(f"model.image_weights is {weights!r}; {name} starts from none")
    match name:
        case "small_resnet":
            return ConvolutionalPatches(SmallResNet(3, channels), image_size, width)
        case "small_convnet":
            return ConvolutionalPatches(SmallConvNet(3, channels), image_size, width)
        case "vit_mini":
            return ClassTokenViT(image_size, 8, width, 4, 4)
        case "vit_b16":
            return ClassTokenViT(image_size, 16, 768, 12, 12, weights)


def fit_positions(positions: Tensor, new: Tensor) -> Tensor:
    """Position embeddings (1, 1 + p, d) for a square of more or fewer patches, as many as `new` has; bicubic."""
    if positions.shape == new.shape:
        return positions
    old, side = (round((x.shape[1] - 1) ** 0.5) for x in (positions, new))
    grid = positions[:, 1:].transpose(1, 2).unflatten(2, (old, old))
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


# What timm calls the parts that torchvision gives other names.
_PARTS = {
    "cls_token": "class_token",
    "pos_embed": POSITIONS,
    "patch_embed.proj": "conv_proj",
    "norm.": "encoder.ln.",
    "attn.qkv.": "self_attention.in_proj_",
    "attn.proj": "self_attention.out_proj",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"model.image_weights: {path} does not exist; get it with `hf download timm/deit_base_patch16_224.fb_in1k "
            f"model.safetensors --local-dir {path.parent}`"
        )
    return {_renamed(key): tensor for key, tensor in load_file(path).items()}


def _renamed(key: str) -> str:
    block, rest = "", key
    if found := re.match(r"blocks\.(\d+)\.", key):
        block, rest = f"encoder.layers.encoder_layer_{found[1]}.", key[found.end() :]
    for theirs, ours in _PARTS.items():
        if rest.startswith(theirs):
            return block + ours + rest.removeprefix(theirs)
    return key
