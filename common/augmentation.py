"""Image augmentation on whole batches of tensors, with parameters that belong to each sample.

A batch costs a handful of tensor operations instead of a Python call an image. The random numbers come from
`common.random.uniform`, so a sample is augmented alike in any batch and on any number of processes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.random import uniform

# Each operation reads its own columns of the random numbers: switching one on leaves the others as they were.
_CROP, _FLIP, _ROTATION, _TRANSLATION = slice(0, 4), 4, 5, slice(6, 8)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _JITTER, _GRAYSCALE = 8, 9, 10, 11, 12, 13
_BLUR, _ERASE, _DRAWS = slice(14, 16), slice(16, 22), 22

# RGB to luma and two axes of chroma (YIQ): turning the chroma shifts the hue, shrinking it takes colour away.
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class ImageAugmentation:
    """Random resized crop, flip, rotation, translation, colour jitter, blur and erasing; 0 switches an operation off.

    Args:
        crop: smallest share of the area that a random resized crop keeps, in (0, 1]; 1 keeps all.
        flip: probability of a horizontal flip.
        rotation: largest angle, in degrees, either way.
        translation: largest shift as a share of the side, either way.
        brightness: the pixels are multiplied by a factor from [1 - brightness, 1 + brightness].
        contrast: the distance to the mean grey is multiplied by a factor from [1 - contrast, 1 + contrast].
        saturation: the same for the distance to grey; three channels only.
        hue: largest turn of the hue as a share of the full circle, in [0, 0.5]; three channels only.
        jitter: probability that the four jitters above are applied to a sample.
        grayscale: probability of losing all colour; three channels only.
        blur: probability of a Gaussian blur with a standard deviation from [0.1, 2] pixels of a 64-pixel picture.
        erase: probability of painting over a rectangle of 2 to 25 % of the area with one random grey.
    """

    def __init__(
        self,
        crop: float = 1.0,
        flip: float = 0.0,
        rotation: float = 0.0,
        translation: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        jitter: float = 1.0,
        grayscale: float = 0.0,
        blur: float = 0.0,
        erase: float = 0.0,
    ) -> None:
        shares = dict(flip=flip, translation=translation, brightness=brightness, contrast=contrast)
        shares |= dict(saturation=saturation, jitter=jitter, grayscale=grayscale, blur=blur, erase=erase)
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise UserError(f"data.{name} is {value}; it must be in [0, 1]")
        if not 0 < crop <= 1:
            raise UserError(f"data.crop is {crop}; it must be in (0, 1]")
        if not 0 <= hue <= 0.5:
            raise UserError(f"data.hue is {hue}; it must be in [0, 0.5]")
        if not 0 <= rotation <= 180:
            raise UserError(f"data.rotation is {rotation}; it must be in [0, 180] degrees")
        self.crop, self.flip, self.rotation, self.translation = crop, flip, rotation, translation
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.jitter, self.grayscale, self.blur, self.erase = jitter, grayscale, blur, erase

    largest: float = 1.0
    size: int | None = None
    """The largest share of the area that a crop keeps, and the side that it is brought to; None leaves it."""

    @property
    def moves(self) -> bool:
        """Whether anything leaves its place."""
        return self.crop < 1 or self.size is not None or bool(self.flip or self.rotation or self.translation)

    def __call__(self, pixels: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Augments a batch.

        Args:
            pixels: floats in [0, 1], shape (n, c, h, w).
            ids: global sample ids, shape (n,).
            key: what else the random numbers depend on: seed, epoch, view.

        Returns:
            The same shape, in [0, 1].
        """
        u = uniform(ids, _DRAWS, *key)
        if self.moves:
            pixels = self._warp(pixels, u)
        if self.brightness or self.contrast:
            pixels = self._intensity(pixels, u)
        if pixels.shape[1] == 3 and (self.saturation or self.hue or self.grayscale):
            pixels = self._colour(pixels, u)
        if self.blur:
            pixels = self._blur(pixels, u[:, _BLUR])
        if self.erase:
            pixels = self._erase(pixels, u[:, _ERASE])
        return pixels.clamp(0, 1)  # interpolation may overshoot by a rounding error

    def _warp(self, pixels: Tensor, u: Tensor) -> Tensor:
        """Crop, flip, rotation and translation as one affine map, so that pixels are interpolated once."""
        height, width = pixels.shape[-2:]
        area, aspect, left, top = u[:, _CROP].unbind(1)
        scale = (self.crop + (self.largest - self.crop) * area).sqrt()
        # The usual aspect ratios from 3/4 to 4/3; a box wider than the picture is cut down to it.
        stretch = ((2 * aspect - 1) * math.log(4 / 3) / 2).exp() if self.crop < 1 else torch.ones_like(scale)
        box_x, box_y = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
        move = (2 * u[:, _TRANSLATION] - 1) * 2 * self.translation
        centre_x, centre_y = (2 * left - 1) * (1 - box_x) + move[:, 0], (2 * top - 1) * (1 - box_y) + move[:, 1]
        mirror = torch.where(u[:, _FLIP] < self.flip, -1.0, 1.0)
        angle = (2 * u[:, _ROTATION] - 1) * math.radians(self.rotation)
        cos, sin = angle.cos(), angle.sin()
        # Rows of the map from output to input coordinates in [-1, 1]; the ratio keeps a turn rigid in a non-square.
        ratio = height / width
        row_x = torch.stack([box_x * cos * mirror, -box_x * sin * ratio, centre_x], dim=1)
        row_y = torch.stack([box_y * sin * mirror / ratio, box_y * cos, centre_y], dim=1)
        shape = [*pixels.shape[:2], *(pixels.shape[2:] if self.size is None else (self.size, self.size))]
        grid = F.affine_grid(torch.stack([row_x, row_y], dim=1).to(pixels), shape, align_corners=False)
        return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _factor(self, u: Tensor, column: int, strength: float) -> Tensor:
        """The factor of one jitter for each sample, shape (n, 1, 1, 1); 1 where the sample is spared."""
        factor = 1 + (2 * u[:, column] - 1) * strength
        return torch.where(u[:, _JITTER] < self.jitter, factor, torch.ones_like(factor))[:, None, None, None]

    def _intensity(self, pixels: Tensor, u: Tensor) -> Tensor:
        pixels = (pixels * self._factor(u, _BRIGHTNESS, self.brightness)).clamp(0, 1)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return (mean + (pixels - mean) * self._factor(u, _CONTRAST, self.contrast)).clamp(0, 1)

    def _colour(self, pixels: Tensor, u: Tensor) -> Tensor:
        """Saturation, hue and loss of colour as one 3x3 matrix a sample."""
        chroma = self._factor(u, _SATURATION, self.saturation).flatten()
        chroma = torch.where(u[:, _GRAYSCALE] < self.grayscale, torch.zeros_like(chroma), chroma)
        turn = (self._factor(u, _HUE, self.hue).flatten() - 1) * 2 * math.pi
        cos, sin, zero, one = chroma * turn.cos(), chroma * turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
        in_yiq = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
        to_yiq = torch.tensor(_YIQ, device=pixels.device)
        matrix = torch.linalg.inv(to_yiq) @ in_yiq @ to_yiq
        return torch.einsum("nij,njhw->nihw", matrix.to(pixels), pixels).clamp(0, 1)

    def _blur(self, pixels: Tensor, u: Tensor) -> Tensor:
        side = pixels.shape[-1]
        sigma = (0.1 + 1.9 * u[:, 1]) * side / 64
        # A standard deviation near zero leaves all weight on the middle tap, which is no blur.
        sigma = torch.where(u[:, 0] < self.blur, sigma, torch.full_like(sigma, 1e-3))
        radius = max(1, round(side / 20))
        taps = torch.arange(-radius, radius + 1, device=pixels.device)
        weights = torch.softmax(-(taps**2) / (2 * sigma[:, None] ** 2), dim=1).to(pixels)
        # A sum of shifted pictures: far cheaper on a CPU than a convolution with as many groups as samples.
        for dim in (2, 3):
            pad = (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0)
            padded = F.pad(pixels, pad, mode="replicate")
            shifted = (padded.narrow(dim, tap, pixels.shape[dim]) for tap in range(len(taps)))
            pixels = sum(part * weights[:, tap, None, None, None] for tap, part in enumerate(shifted))  # type: ignore
        return pixels

    def _erase(self, pixels: Tensor, u: Tensor) -> Tensor:
        chosen, area, aspect, left, top, value = u[:, :, None, None, None].unbind(1)
        scale, stretch = (0.02 + 0.23 * area).sqrt(), ((2 * aspect - 1) * math.log(3.3) / 2).exp()
        box_x, box_y = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
        height, width = pixels.shape[-2:]
        x = (torch.arange(width, device=pixels.device) + 0.5) / width
        y = ((torch.arange(height, device=pixels.device) + 0.5) / height)[:, None]
        inside = ((x - left * (1 - box_x)) / box_x - 0.5).abs().lt(0.5) & (
            ((y - top * (1 - box_y)) / box_y - 0.5).abs().lt(0.5)
        )
        return torch.where(inside & (chosen < self.erase), value.to(pixels), pixels)


class Crops(ImageAugmentation):
    """`ImageAugmentation` whose crops may be brought to another size and kept small, as DINO's local views are.

    Args:
        size: side of what comes out; None leaves the picture's.
        largest: largest share of the area that a crop keeps, from `crop` to 1.
        augmentation: the other arguments of `ImageAugmentation`.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, size: int | None = None, largest: float = 1.0, **augmentation: float) -> None:
        super().__init__(**augmentation)
        if size is not None and (size < 1 or size != int(size)):
            raise UserError(f"data.local.size is {size}; it must be a whole number, at least 1")
        if not self.crop <= largest <= 1:
            raise UserError(f"data.local.largest is {largest}; it must be from crop, {self.crop}, to 1")
        self.size, self.largest = None if size is None else int(size), largest


def turned(pixels: Tensor, quarters: Tensor) -> Tensor:
    """Square pictures turned to the left.

    Args:
        pixels: shape (n, c, s, s).
        quarters: how far, in quarters of a circle, integers from 0 to 3, shape (n,).
    """
    out = pixels.clone()
    for quarter in (1, 2, 3):
        rows = quarters == quarter
        out[rows] = pixels[rows].rot90(quarter, (2, 3))
    return out


def panned(panoramas: Tensor, quarters: Tensor) -> Tensor:
    """Panoramas of a full circle as the camera sees them after it has turned to the right; arguments as in `turned`.

    A panorama by a camera that turns to the right fits the map turned to the left.
    """
    out = panoramas.clone()
    for quarter in (1, 2, 3):
        rows = quarters == quarter
        out[rows] = panoramas[rows].roll(-quarter * (panoramas.shape[3] // 4), 3)
    return out


def random_box(size: tuple[int, int], crop: float, draws: Sequence[float]) -> tuple[float, float, float, float]:
    """The corners of a random resized crop from four numbers in [0, 1): area, side ratio, place across and down."""
    width, height = size
    if crop == 1:
        return 0, 0, width, height
    area = width * height * (crop + (1 - crop) * draws[0])
    ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * draws[1])
    across, down = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = (width - across) * draws[2], (height - down) * draws[3]
    return left, top, left + across, top + down
