"""Garments at a place of their own before noise: Fashion-MNIST made a ground for self-supervision."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.random import uniform
from common.table import take
from data.benchmarks.bases.galleries import GalleryImages
from data.benchmarks.bases.images import Pictures, stratified
from data.benchmarks.bases.rendering import POSE_DRAWS, bumps, posed, to_bytes
from data.cache import cached_tensors
from data.sources.fashion_mnist import CLASSES, FASHION_MNIST, read_fashion_mnist

SIDE = 28
_VERSION = 1
_RENDERING, _SPLIT = 1, 0
"""Keys of what is drawn for each garment: how it is rendered, and its split."""
_POSE, _BASE, _CONTRAST, _POLARITY = slice(0, POSE_DRAWS), 5, 6, 7
_COARSE, _FINE, _TINTS = slice(8, 24), slice(24, 124), slice(124, 130)
_DRAWS = 130
_KINDS = (0, 1, 0, 0, 0, 2, 0, 2, 3, 2)
"""Of each class: what one wears above, trousers, shoes, and bags."""


class PlacedFashion(GalleryImages):
    """70,000 garments, 28x28 grey, each once, somewhere before noise: 5,000 val, 5,000 gallery, 10,000 test.

    A garment is shrunk, turned, moved, and light on dark or dark on light, so that pixels say little of its class and
    there is something to learn (as it is, Fashion-MNIST is told as well by its pixels). 20,000 of the other 50,000 are
    trained on, and the seed draws which. The test garments are those of the published test split.

    Args:
        train_size: as in `GalleryImages`; there are 5,000 of each class.
        colour: garment and noise are each tinted at random, by nothing that tells the class; the pictures have three
            channels then, and the views may change colours.
        coarse: methods that read labels see four kinds (tops and dresses, trousers, shoes, bags) in place of the ten
            classes, which are asked for all the same.
        class_count, long_tail, tasks, task_epochs: as in `GalleryImages`.
        kwargs: as in `AugmentedImages`.
    """

    name = "placed_fashion"
    sources = (FASHION_MNIST,)
    version = _VERSION
    classes = CLASSES
    most_classes = len(CLASSES)
    most_per_class = 5000
    added_later: ClassVar[dict[str, Any]] = {"coarse": False}

    def __init__(
        self,
        *,
        train_size: int = 20_000,
        class_count: int = 10,
        long_tail: float = 1.0,
        tasks: int = 1,
        task_epochs: int = 1,
        colour: bool = False,
        coarse: bool = False,
        crop: float = 0.3,
        flip: float = 0.5,
        blur: float = 0.0,
        **kwargs,
    ) -> None:
        switches = dict(train_size=train_size, class_count=class_count, long_tail=long_tail)
        switches |= dict(tasks=tasks, task_epochs=task_epochs)
        super().__init__(crop=crop, flip=flip, blur=blur, **switches, **kwargs)
        self.colour, self.coarse = colour, coarse

    def load(self) -> dict[str, Pictures]:
        def build() -> dict[str, Tensor]:
            ids = torch.arange(sum(len(pixels) for pixels, _ in garments.values()))
            pixels = torch.cat([torch.from_numpy(pixels)[:, None] for pixels, _ in garments.values()])
            pairs = zip(pixels.split(1000), ids.split(1000), strict=True)
            return {"pixels": torch.cat([rendered(*pair, colour=self.colour) for pair in pairs])}

        garments = read_fashion_mnist(self.data_root)
        stored = cached_tensors(self.name, build, self.sources, _VERSION, self.data_root, colour=self.colour)
        labels = torch.cat([torch.from_numpy(labels) for _, labels in garments.values()])
        everything = Pictures(stored["pixels"], labels, torch.arange(len(labels)))
        known = len(garments["train"][1])
        test, rest = (take(everything, rows) for rows in (everything.ids >= known, everything.ids < known))
        val, gallery, train = stratified(rest, [500, 500, -1], _SPLIT)
        return {"train": train, "val": val, "gallery": gallery, "test": test}

    def training_set(self, train: Pictures) -> Pictures:
        return self.drawn(train)

    def augmented(self, batch: Pictures, epoch: int) -> Images:
        images = super().augmented(batch, epoch)
        kinds = torch.tensor(_KINDS, device=images.labels.device)
        return images._replace(labels=kinds[images.labels]) if self.coarse else images

    def settings(self) -> tuple:
        return *super().settings(), self.colour


def rendered(pixels: Tensor, ids: Tensor, *, colour: bool = False) -> Tensor:
    """Garments on a canvas of their own, each as its id has it.

    Args:
        pixels: light on black, uint8, shape (n, 1, 28, 28).
        ids: shape (n,).
        colour: with tints.

    Returns:
        uint8, shape (n, 1, 28, 28), with tints (n, 3, 28, 28).
    """
    u = uniform(ids, _DRAWS, _RENDERING)
    base, contrast, polarity = (u[:, column, None, None, None] for column in (_BASE, _CONTRAST, _POLARITY))
    grey = pixels.float() / 255
    # A pixel wider than what is seen, so that dark cloth is no hole.
    opacity = (F.max_pool2d(grey, 3, 1, 1) > 0.08).float()
    layers = posed(torch.cat([grey, opacity], dim=1), u[:, _POSE], scale=(0.55, 0.95), degrees=20)
    garment, opacity = layers.split(1, dim=1)
    garment = torch.where(polarity < 0.5, 1 - garment, garment)
    garment = 0.5 + (garment - 0.5) * (0.5 + 0.5 * contrast)
    noise = (base + 0.5 * bumps(u[:, _COARSE], 4, SIDE) + 0.4 * bumps(u[:, _FINE], 10, SIDE)).clamp(0, 1)
    if colour:
        of_garment, of_noise = (0.4 + 0.6 * u[:, _TINTS, None, None]).split(3, dim=1)
        garment, noise = garment * of_garment, noise * of_noise
    return to_bytes(opacity * garment + (1 - opacity) * noise)
