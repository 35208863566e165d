"""Two encoders, one for the lightness of an image and one for its colour, or for two bands of a grey one."""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from common.colour import rgb_to_lab, rgb_to_ycbcr
from common.encoders.heads import Projected
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.training.method import Method

CENTRE = {"lab": (50.0, 6.025, -6.6895), "ycbcr": (116.151, 121.080, 132.342)}
SPREAD = {"lab": (50.0, 92.208, 101.1675), "ycbcr": (109.500, 111.855, 111.964)}
"""By which the released code normalizes the two colour spaces."""

BLUR = 2.0
"""Deviation in pixels of the Gaussian that parts the bands of a grey picture."""


Parting = Literal["lab", "ycbcr", "bands"]


class TwoViews(Method):
    """An encoder for the lightness of an image and one for its colour; the representation is both side by side.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch".
        width: channels of each encoder's first stage.
        outputs: widths of the linear maps above the two encoders.
        colours: what parts lightness and colour, "lab" or "ycbcr"; or "bands", ours, for pictures without colour: what
            a blur leaves of the brightness is the first view, and what it takes away the second.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        width: int = 16,
        outputs: tuple[int, int] = (64, 64),
        colours: Parting = "lab",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        channels = (1, 1) if colours == "bands" else (1, 2)
        towers = [
            Projected(image_encoder(encoder, c, width), out, nn.Linear)
            for c, out in zip(channels, outputs, strict=True)
        ]
        self.networks = with_global_statistics(nn.ModuleList(towers))
        self.colours = colours

    def parted(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Lightness (n, 1, h, w) and colour (n, 2, h, w), or two bands (n, 1, h, w), in about [0, 1] as encoders take
        them; pixels in [0, 1].
        """
        if self.colours == "bands":
            grey = pixels.mean(dim=1, keepdim=True)
            low = gaussian_blur(grey, kernel_size=4 * int(BLUR) + 1, sigma=BLUR)
            return low, grey - low + 0.5
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
