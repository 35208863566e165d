"""Two encoders, one for the lightness of an image and one for its colour."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.colour import rgb_to_lab, rgb_to_ycbcr
from common.encoders.heads import Projected
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.training.method import Method

CENTRE = {"lab": (50.0, 6.025, -6.6895), "ycbcr": (116.151, 121.080, 132.342)}
SPREAD = {"lab": (50.0, 92.208, 101.1675), "ycbcr": (109.500, 111.855, 111.964)}
"""By which the released code normalizes the two colour spaces."""


class TwoViews(Method):
    """An encoder for the lightness of an image and one for its colour; the representation is both side by side.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch".
        width: channels of each encoder's first stage.
        outputs: widths of the linear maps above the two encoders.
        colours: what parts lightness and colour, "lab" or "ycbcr".
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        width: int = 16,
        outputs: tuple[int, int] = (64, 64),
        colours: Literal["lab", "ycbcr"] = "lab",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        towers = [
            Projected(image_encoder(encoder, c, width), out, nn.Linear) for c, out in zip((1, 2), outputs, strict=True)
        ]
        self.networks = with_global_statistics(nn.ModuleList(towers))
        self.colours = colours

    def parted(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Lightness (n, 1, h, w) and colour (n, 2, h, w), in about [0, 1] as encoders take them; pixels in [0, 1]."""
        space = {"lab": rgb_to_lab, "ycbcr": rgb_to_ycbcr}[self.colours](pixels)
        centre, spread = (space.new_tensor(of[self.colours])[:, None, None] for of in (CENTRE, SPREAD))
        return ((space - centre) / (2 * spread) + 0.5).split([1, 2], dim=1)

    def codes(self, views: Tensor) -> list[Tensor]:
        """Unit vectors of lightness and of colour, (views * n, out), one view of all images after the other.

        Args:
            views: of all images, in [0, 1], (views, n, 3, h, w).
        """
        return [network(part) for network, part in zip(self.networks, self.parted(views.flatten(0, 1)), strict=True)]

    def embed_image(self, pixels: Tensor) -> Tensor:
        parts = zip(self.networks, self.parted(to_float(pixels)), strict=True)
        return torch.cat([network.encoder(part) for network, part in parts], dim=1)
