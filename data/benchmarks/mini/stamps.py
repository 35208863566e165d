"""Cut-outs in colour as classes of their own, rendered again and again: a ground for self-supervision in colour."""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.random import uniform
from data.benchmarks.bases.galleries import GalleryImages
from data.benchmarks.bases.images import Pictures
from data.benchmarks.bases.rendering import POSE_DRAWS, bumps, luma, posed, renderings, to_bytes
from data.cache import cached_tensors
from data.scenes.painting import cut_out
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS, read_stamp_pictures, read_stamps

SIDE = 32
MOST = 200
"""Stamps that are classes."""
ALIKE = 0.08
"""Two stamps are alike if one, or its mirror image, differs from the other by less: root mean square, 1 being white."""
COVERED = 0.1
"""Of its square, by a stamp at least; thinner ones are a pixel wide at this size."""
SCORED = {"val": 5000, "gallery": 5000, "test": 10_000}
"""Renderings, of all classes together; a multiple of the number of classes, if need be fewer."""

_VERSION = 1
_CHOICE, _RENDERING = 0, 1
"""Keys of what is drawn: the order of the stamps, and how each is rendered."""
_POSE, _GAIN, _TINT, _BASE, _ROUGH = slice(0, POSE_DRAWS), 5, slice(6, 9), 9, 10
_COARSE, _FINE, _CLOUDS = slice(11, 27), slice(27, 148), slice(148, 175)
_DRAWS = 175


class Stamps(GalleryImages):
    """200 cut-outs of Tux Paint as classes, 32x32, in colour: 20,000 train, 5,000 val, 5,000 gallery and 10,000 test.
    The items of a mean are the classes, of which all have as many pictures in each scored split.

    Each picture is a rendering of its own: a stamp shrunk to 0.6 to 0.95, turned, mirrored, lit and tinted before noise
    that is nearly grey. The seed draws those that are trained on. No letters and notes, no stamp like another.

    Args:
        train_size: as in `GalleryImages`; up to 10,000 of a class.
        class_count: the first of the 200 in a fixed random order; all splits but the training pictures keep their size.
        colour: without it, what a method sees and is scored on are grey pictures of one channel.
        long_tail, tasks, task_epochs: as in `GalleryImages`.
        kwargs: as in `AugmentedImages`; the views change colours, see `ImageAugmentation`.
    """

    name = "stamps"
    sources = (TUXPAINT_STAMPS,)
    version = _VERSION
    most_classes = MOST
    most_per_class = 10_000
    by_class = True

    def __init__(
        self,
        *,
        train_size: int = 20_000,
        class_count: int = MOST,
        long_tail: float = 1.0,
        tasks: int = 1,
        task_epochs: int = 1,
        colour: bool = True,
        crop: float = 0.25,
        flip: float = 0.5,
        saturation: float = 0.4,
        hue: float = 0.1,
        jitter: float = 0.8,
        grayscale: float = 0.2,
        blur: float = 0.0,
        **kwargs,
    ) -> None:
        switches = dict(train_size=train_size, class_count=class_count, long_tail=long_tail)
        switches |= dict(tasks=tasks, task_epochs=task_epochs)
        views = dict(saturation=saturation, hue=hue, jitter=jitter, grayscale=grayscale)
        super().__init__(crop=crop, flip=flip, blur=blur, **views, **switches, **kwargs)
        self.colour = colour
        self.names: list[str] = []
        """Of the classes, such as "animals/birds/owl"."""

    def load(self) -> dict[str, Pictures]:
        def build() -> dict[str, Tensor]:
            return {name: self._rendered(name, [count] * self.class_count).pixels for name, count in counts.items()}

        self.stamps, self.numbers, self.names = read_classes(self.data_root)
        counts = {name: total // self.class_count for name, total in SCORED.items()}
        options = {"class_count": self.class_count}
        stored = cached_tensors("stamps", build, self.sources, _VERSION, self.data_root, **options)
        splits = {"train": self._rendered("train", self.class_sizes, self.seed)}
        for name, count in counts.items():
            labels, ids = renderings(self.numbers, [count] * self.class_count, name)
            splits[name] = Pictures(stored[name], labels, ids)
        if not self.colour:
            splits = {name: part._replace(pixels=luma(part.pixels)) for name, part in splits.items()}
        return splits

    def _rendered(self, split: str, sizes: list[int], *key: int) -> Pictures:
        labels, ids = renderings(self.numbers, sizes, split)
        chunks = zip(labels.split(1000), ids.split(1000), strict=True)
        pixels = torch.cat([rendered(self.stamps[classes], some, *key) for classes, some in chunks])
        return Pictures(pixels, labels, ids)

    def settings(self) -> tuple:
        return *super().settings(), self.colour


def rendered(stamps: Tensor, ids: Tensor, *key: int) -> Tensor:
    """Stamps on a canvas of their own, each as its id and the key have it.

    Args:
        stamps: colours times opacity, and opacity, uint8, shape (n, 4, 32, 32).
        ids: shape (n,).

    Returns:
        uint8, shape (n, 3, 32, 32).
    """
    u = uniform(ids, _DRAWS, _RENDERING, *key)
    gain, base, rough = (u[:, column, None, None, None] for column in (_GAIN, _BASE, _ROUGH))
    layers = posed(stamps.float() / 255, u[:, _POSE], scale=(0.6, 0.95), degrees=25, mirror=0.5)
    ink, opacity = layers.split([3, 1], dim=1)
    tint = 1 + 0.15 * (2 * u[:, _TINT, None, None] - 1)
    ink = (ink * (0.6 + 0.5 * gain) * tint).clamp(max=1)
    grey = 0.2 + 0.6 * base + 0.5 * bumps(u[:, _COARSE], 4, SIDE) + 0.4 * rough * bumps(u[:, _FINE], 11, SIDE)
    noise = (grey + 0.3 * bumps(u[:, _CLOUDS], 3, SIDE)).clamp(0, 1)
    return to_bytes(ink + (1 - opacity) * noise)


@cache
def read_classes(data_root: str | None) -> tuple[Tensor, Tensor, list[str]]:
    """The stamps that are classes, in an order that is random and fixed.

    Returns:
        Pictures, uint8 of shape (200, 4, 32, 32), colours times opacity; numbers in the source, int64 of shape (200,);
        keys.
    """

    def build() -> dict[str, Tensor]:
        pictures = read_stamp_pictures(data_root)
        numbers = [n for n, stamp in enumerate(stamps) if stamp.key in pictures and stamp.category != "symbols"]
        drawn = uniform(torch.tensor(numbers), 1, _CHOICE).flatten().argsort(stable=True).tolist()
        order = [numbers[place] for place in drawn]
        squares = torch.from_numpy(np.stack([_square(pictures[stamps[n].key]) for n in order]))
        kept = _distinct(squares)
        if len(kept) < MOST:
            raise UserError(f"tuxpaint_stamps holds {len(kept)} stamps that differ; the benchmark needs {MOST}")
        return {"pixels": squares[kept], "numbers": torch.tensor(order)[kept]}

    stamps = read_stamps(data_root)
    stored = cached_tensors("stamps-classes", build, [TUXPAINT_STAMPS], _VERSION, data_root)
    return stored["pixels"], stored["numbers"], [stamps[n].key for n in stored["numbers"].tolist()]


def _square(rgba: np.ndarray) -> np.ndarray:
    """The cut-out in the middle of a square, uint8 of shape (4, 32, 32), colours times opacity."""
    cut = cut_out(rgba)
    height, width = cut.shape[:2]
    long = max(height, width)
    canvas = np.zeros((long, long, 4), np.uint8)
    top, left = (long - height) // 2, (long - width) // 2
    canvas[top : top + height, left : left + width] = cut
    # Band by band: as RGBA, Pillow would divide by the opacity and multiply again.
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in canvas.transpose(2, 0, 1))
    return np.stack([np.asarray(band.resize((SIDE, SIDE), Image.Resampling.BOX)) for band in bands])


def _distinct(squares: Tensor) -> list[int]:
    """The first 200 that cover enough and are unlike all that stay before them; squares (n, 4, 32, 32)."""
    pictures, mirrored = (x.flatten(1).double() for x in (squares, squares.flip(3)))
    # Sums of products of bytes are exact in float64, so whatever adds them up chooses the same stamps.
    square = pictures.square().sum(1)
    nearest = torch.maximum(pictures @ pictures.T, pictures @ mirrored.T)
    alike = square[:, None] + square - 2 * nearest < (255 * ALIKE) ** 2 * pictures.shape[1]
    covered = (squares[:, 3] > 127).flatten(1).sum(1) >= COVERED * SIDE**2
    kept: list[int] = []
    for i in covered.nonzero().flatten().tolist():
        if len(kept) < MOST and not alike[i, kept].any():
            kept.append(i)
    return kept
