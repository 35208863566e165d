"""RandAugment without operations that change colours, for pictures whose captions name them (ALBEF, Li et al. 2021)."""

import math
from collections.abc import Sequence

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

OPERATIONS = 10
DRAWS = 3
"""Numbers that one operation takes."""
_GREY = [128.0, 128.0, 128.0]


def rand_augment(pixels: Tensor, draws: Sequence[float], magnitude: float = 0.7) -> Tensor:
    """Applies an operation for every three draws, each with probability 1/2.

    Nothing, autocontrast, equalization, more brightness, more sharpness, a shear or a shift along either axis, or a
    turn; what comes into view is grey.

    Args:
        pixels: uint8, shape (3, h, w).
        draws: numbers in [0, 1), three an operation: which, whether, and which way.
        magnitude: of all, in [0, 1]: shears of up to 0.3, shifts of up to 10 pixels, turns of up to 30 degrees.

    Returns:
        The same shape.
    """
    for which, whether, way in zip(draws[::DRAWS], draws[1::DRAWS], draws[2::DRAWS], strict=True):
        if whether < 0.5:
            pixels = _applied(pixels, int(which * OPERATIONS), magnitude, 1.0 if way < 0.5 else -1.0)
    return pixels


def _applied(pixels: Tensor, operation: int, magnitude: float, sign: float) -> Tensor:
    match operation:
        case 1:
            return F.autocontrast(pixels)
        case 2:
            return F.equalize(pixels)
        case 3:
            return F.adjust_brightness(pixels, 0.1 + 1.8 * magnitude)
        case 4:
            return F.adjust_sharpness(pixels, 0.1 + 1.8 * magnitude)
        case 5 | 6:
            angle = sign * math.degrees(math.atan(0.3 * magnitude))
            return _warped(pixels, shear=[angle, 0.0] if operation == 5 else [0.0, angle])
        case 7 | 8:
            shift = round(sign * 10 * magnitude)
            return _warped(pixels, translate=[shift, 0] if operation == 7 else [0, shift])
        case 9:
            return _warped(pixels, angle=sign * 30 * magnitude)
    return pixels


def _warped(pixels: Tensor, **change) -> Tensor:
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    # A shear leaves the upper left corner where it is, a turn the middle.
    corner = [0.0, 0.0] if "shear" in change else None
    return F.affine(pixels, **still | change, interpolation=InterpolationMode.BILINEAR, fill=_GREY, center=corner)
