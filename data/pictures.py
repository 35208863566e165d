"""Pictures as people keep them, opened: by path or by their bytes, in any mode, turned the way they were taken."""

import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from common.augmentation import random_box
from common.errors import UserError
from data.cells import named, places, stored
from data.readers import Source

THREADS = 4
"""That read and decode in one process."""
LEAST = 8
"""Pixels of a side below which there is no picture."""


def opened(picture: Path | bytes, colour: bool, side: int | None = None, header: bool = False) -> Image.Image:
    """A picture in colour or in grey; what shows through it is white.

    Args:
        side: a JPEG file may be read at fewer pixels, at least so many a side.
        header: look at the beginning of the file alone.

    Raises:
        UserError: it cannot be read, or is too small; says why, and no place.
    """
    mode = "RGB" if colour else "L"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Image.Image
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as found:
                size = found.size
                if not header and min(size) >= LEAST:
                    if side is not None:
                        found.draft(mode, (side, side))
                    found = _converted(ImageOps.exif_transpose(found), mode)
    except FileNotFoundError:
        raise UserError("does not exist") from None
    except IsADirectoryError:
        raise UserError("is a folder") from None
    except Image.UnidentifiedImageError:
        raise UserError("is no picture") from None
    except Exception as error:  # a damaged file ends in any of a dozen kinds of error
        raise UserError(f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from None
    if min(size) < LEAST:
        raise UserError(f"has {size[0]} x {size[1]} pixels; it must have {LEAST} a side at least")
    return found


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would cut at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(mode)


def middle(picture: Image.Image, side: int) -> Tensor:
    """The largest square in the middle of a picture, uint8 of shape (channels, side, side)."""
    (width, height), least = picture.size, min(picture.size)
    left, top = (width - least) / 2, (height - least) / 2
    return _pixels(picture, side, (left, top, left + least, top + least))


def squeezed(picture: Image.Image, side: int) -> Tensor:
    """The whole picture, whatever its shape, uint8 of shape (channels, side, side)."""
    return _pixels(picture, side, None)


def cropped(picture: Image.Image, side: int, crop: float, draws: Sequence[float]) -> Tensor:
    """A random resized crop, see `random_box`, uint8 of shape (channels, side, side)."""
    return _pixels(picture, side, random_box(picture.size, crop, draws))


def _pixels(picture: Image.Image, side: int, box: tuple[float, float, float, float] | None) -> Tensor:
    pixels = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, box))
    return torch.from_numpy(pixels.copy()).reshape(side, side, -1).permute(2, 0, 1).contiguous()


class PictureReader(NamedTuple):
    """Reads pictures of a table by their row, a few at a time; it is sent to the workers."""

    source: Source
    column: str
    root: Path | None
    """Where relative paths start from; by default in the folder of their file."""
    side: int
    colour: bool
    whole: bool = False
    """Squeezes the whole picture into the square, where otherwise its middle is kept."""

    def where(self, rows: Sequence[int]) -> list[tuple[int, Path | bytes]]:
        """The rows, each with its picture's path or bytes."""
        return list(zip(rows, places(self.source, self.column, rows, self.root), strict=True))

    def __call__(self, rows: Sequence[int]) -> Tensor:
        """Whole pictures or their middle, uint8 of shape (n, channels, side, side)."""
        cut = squeezed if self.whole else middle
        return self._read([(found, lambda picture: cut(picture, self.side)) for found in self.where(rows)])

    def crops(self, rows: Sequence[int], crop: float, views: Sequence[Sequence[Sequence[float]]]) -> Tensor:
        """Random resized crops, uint8 of shape (views, n, channels, side, side).

        Args:
            views: of each view and picture four numbers in [0, 1).
        """
        found = self.where(rows)
        wanted = [
            (one, lambda picture, drawn=drawn: cropped(picture, self.side, crop, drawn))
            for view in views
            for one, drawn in zip(found, view, strict=True)
        ]
        return self._read(wanted).unflatten(0, (len(views), -1))

    def _read(self, wanted: Sequence[tuple[tuple[int, Path | bytes], Callable[[Image.Image], Tensor]]]) -> Tensor:
        def one(item: tuple[tuple[int, Path | bytes], Callable[[Image.Image], Tensor]]) -> Tensor:
            (row, place), cut = item
            try:
                return cut(opened(place, self.colour))
            except UserError as error:
                raise UserError(f"{self.source.where(row)}: the picture {error}") from None

        with ThreadPoolExecutor(THREADS) as pool:  # decoding and resizing release the interpreter's lock
            return torch.stack(list(pool.map(one, wanted)))

    def faults(self, values: Sequence[Any], start: int, headers: bool) -> list[str | None]:
        """Why each of the pictures from a row on cannot be used, or None.

        Args:
            headers: look into the headers alone.
        """

        def one(item: tuple[int, Any]) -> str | None:
            row, value = item
            try:
                place = stored(value, self.root or self.source.part(row)[0].folder)
                opened(place, self.colour, self.side, headers)
            except UserError as error:
                return f"the picture{named(value)} {error}"
            return None

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, enumerate(values, start)))
