"""The vision transformer: a picture as a sequence of patches."""

from torch import Tensor, nn
from torchvision.transforms import Normalize
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from common.errors import UserError


class PlaceNorm(nn.LayerNorm):
    """Layer normalization over the channels of each place of a map (n, c, h, w), to which no other place matters."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def _halving(inputs: int, outputs: int, by_place: bool) -> tuple[nn.Module, ...]:
    """A convolution that halves the sides; the norm is each place's or each picture's own."""
    norm = PlaceNorm(outputs) if by_place else nn.GroupNorm(1, outputs)
    return nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), norm, nn.GELU()


class VisionTransformer(nn.Module):
    """A pre-norm vision transformer whose patches may be pooled by attention from one learnt query.

    The shape of Dosovitskiy et al. 2021 without a class token, and the pooling head of Zhai et al. 2022 ("Scaling
    Vision Transformers", MAP), as in SigLIP.

    Args:
        image_size: side of the pictures in pixels.
        patch_size: side of a patch; divides `image_size`.
        width: d of the token states and of the vector.
        layers: transformer layers; the feed-forward part is four times as wide as the states.
        heads: attention heads; they divide `width`.
        channels: colour channels of the pictures.
        pooled: whether there is a head that pools; without it the mean of the patches stands for the picture.
        stem: channels of two 3x3 convolutions of stride 2 before the patches, each with a norm and GELU, as in Xiao et
            al. 2021, "Early Convolutions Help Transformers See Better"; 0 for none.
        by_place: whether the stem's norm is each place's own rather than each picture's: a picture of another size, or
            of more objects, has other statistics.

    Raises:
        UserError: the picture cannot be cut into whole patches, or a patch into quarters where there is a stem; the
            heads do not divide the width.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        channels: int = 3,
        pooled: bool = True,
        stem: int = 0,
        by_place: bool = False,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise UserError(f"image_size is {image_size}; it must be a multiple of the patches' {patch_size} pixels")
        if width % heads:
            raise UserError(f"heads is {heads}; it must divide the width, which is {width}")
        if stem and patch_size % 4:
            raise UserError(f"patch_size is {patch_size}; with a stem it must be a multiple of 4 pixels")
        self.output_dim, self.patch_size = width, patch_size
        self.stem = nn.Identity()
        if stem:
            self.stem = nn.Sequential(*_halving(channels, stem, by_place), *_halving(stem, stem, by_place))
            image_size, patch_size, channels = image_size // 4, patch_size // 4, stem
        self.body = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_channels=channels,
                image_size=image_size,
                patch_size=patch_size,
                vision_use_head=pooled,
            )
        )

    @property
    def positions(self) -> nn.Parameter:
        """The learnt embedding of the patches' positions, row by row of the picture, (p, d)."""
        return self.body.embeddings.position_embedding.weight

    def patches(self, pixels: Tensor, positions: Tensor | None = None) -> Tensor:
        """The last states of the patches, shape (n, p, d), from float pixels in [0, 1] of shape (n, c, h, w).

        Args:
            pixels: of the size that it was built for; of any, whole patches, with positions that fit.
            positions: embedding of the patches' positions instead of `positions`, (p, d) or (n, p, d).
        """
        if positions is None:
            return self.body(pixel_values=self.stem(2 * pixels - 1)).last_hidden_state
        return self.mixed(self.embedded(pixels) + positions)

    def embedded(self, pixels: Tensor) -> Tensor:
        """The patches without positions, (n, p, d), row by row, from float pixels in [0, 1] of shape (n, c, h, w)."""
        return self.body.embeddings.patch_embedding(self.stem(2 * pixels - 1)).flatten(2).transpose(1, 2)

    def mixed(self, patches: Tensor) -> Tensor:
        """The last states, (n, p, d), of patches that have looked at each other, from those of `embedded`."""
        return self.body.post_layernorm(self.body.encoder(inputs_embeds=patches).last_hidden_state)

    def forward(self, pixels: Tensor, positions: Tensor | None = None) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, channels, h, w) to vectors of shape (n, width)."""
        patches = self.patches(pixels, positions)
        return self.body.head(patches) if self.body.use_head else patches.mean(dim=1)


class ClipVisionTransformer(nn.Module):
    """CLIP's own ViT-B/32: a class token stands for the picture, under a norm.

    Source: Radford et al. 2021, table 20, with plain GELU as in open_clip. 87.5 M parameters.

    Args:
        image_size: side of the pictures in pixels.
    """

    # Of the pictures that CLIP was trained on.
    MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, image_size: int = 224) -> None:
        super().__init__()
        # The other defaults are those of ViT-B/32.
        self.body = CLIPVisionModel(CLIPVisionConfig(image_size=image_size, hidden_act="gelu"))
        self.output_dim = self.body.config.hidden_size
        self.normalize = Normalize(self.MEAN, self.DEVIATION)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, 3, h, w) to vectors of shape (n, 768)."""
        return self.body(pixel_values=self.normalize(pixels)).pooler_output
