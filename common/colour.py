"""Colour spaces that part lightness from colour."""

import torch
from torch import Tensor

from common.errors import UserError

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
"""D65, seen at 2 degrees."""
_TO_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """CIE Lab of sRGB pictures, under D65: lightness from 0 to 100, a from green to red, b from blue to yellow.

    Args:
        pixels: in [0, 1], shape (n, 3, h, w).

    Returns:
        The same shape; a and b reach from about -86 to 98 and from -108 to 94.

    Raises:
        UserError: pictures without three channels.

    Source: IEC 61966-2-1 and CIE 15, with the constants of scikit-image's `rgb2lab`.
    """
    linear = torch.where(pixels > 0.04045, ((pixels + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    xyz = _mixed(linear, _TO_XYZ) / pixels.new_tensor(_WHITE)[:, None, None]
    # The root's slope is infinite at 0, where the line takes its place.
    root = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def rgb_to_ycbcr(pixels: Tensor) -> Tensor:
    """Luma from 16 to 235, and the chroma Cb and Cr from 16 to 240, of pictures in [0, 1]; as `rgb_to_lab`.

    Source: ITU-R BT.601.
    """
    return _mixed(pixels, _TO_YCBCR) + pixels.new_tensor((16.0, 128.0, 128.0))[:, None, None]


def _mixed(pixels: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise UserError(f"pixels {tuple(pixels.shape)}: expected (n, 3, h, w), pictures in colour")
    return torch.einsum("ij,njhw->nihw", pixels.new_tensor(matrix), pixels)
