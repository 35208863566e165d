"""Garments at a place of their own before noise: Fashion-MNIST made a ground for self-supervision."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.errors import UserError
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
        nuisance: how much of what says nothing of the class there is, from 0, the garments as they are, to 1: how far a
            garment is shrunk, turned and moved, how often it is inverted, how much contrast it loses, and the noise.
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
    added_later: ClassVar[dict[str, Any]] = {"coarse": False, "nuisance": 1.0}

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
        nuisance: float = 1.0,
        crop: float = 0.3,
        flip: float = 0.5,
        blur: float = 0.0,
        **kwargs,
    ) -> None:
        switches = dict(train_size=train_size, class_count=class_count, long_tail=long_tail)
        switches |= dict(tasks=tasks, task_epochs=task_epochs)
        super().__init__(crop=crop, flip=flip, blur=blur, **switches, **kwargs)
        if not 0 <= nuisance <= 1:
            raise UserError(f"data.nuisance is {nuisance}; it must be from 0 to 1")
        self.colour, self.coarse, self.nuisance = colour, coarse, nuisance

    def load(self) -> dict[str, Pictures]:
        def build() -> dict[str, Tensor]:
            ids = torch.arange(sum(len(pixels) for pixels, _ in garments.values()))
            pixels = torch.cat([torch.from_numpy(pixels)[:, None] for pixels, _ in garments.values()])
            pairs = zip(pixels.split(1000), ids.split(1000), strict=True)
            return {
                "pixels": torch.cat([rendered(*pair, colour=self.colour, nuisance=self.nuisance) for pair in pairs])
            }

        garments = read_fashion_mnist(self.data_root)
        options: dict[str, Any] = {"colour": self.colour}
        if self.nuisance < 1:  # the other files keep their names
            options["nuisance"] = self.nuisance
        stored = cached_tensors(PlacedFashion.name, build, self.sources, _VERSION, self.data_root, **options)
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
        chosen = *super().settings(), self.colour
        return chosen if self.nuisance == 1 else (*chosen, self.nuisance)


def rendered(pixels: Tensor, ids: Tensor, *, colour: bool = False, nuisance: float = 1.0) -> Tensor:
    """Garments on a canvas of their own, each as its id has it.

    Args:
        pixels: light on black, uint8, shape (n, 1, 28, 28).
        ids: shape (n,).
        colour: with tints.
        nuisance: from 0 to 1, as in `PlacedFashion`.

    Returns:
        uint8, shape (n, 1, 28, 28), with tints (n, 3, 28, 28).
    """
    u = uniform(ids, _DRAWS, _RENDERING)
    base, contrast, polarity = (u[:, column, None, None, None] for column in (_BASE, _CONTRAST, _POLARITY))
    grey = pixels.float() / 255
    # A pixel wider than what is seen, so that dark cloth is no hole.
    opacity = (F.max_pool2d(grey, 3, 1, 1) > 0.08).float()
    layers = posed(
        torch.cat([grey, opacity], dim=1),
        u[:, _POSE],
        scale=(1 - 0.45 * nuisance, 1 - 0.05 * nuisance),
        degrees=20 * nuisance,
    )
    garment, opacity = layers.split(1, dim=1)
    garment = torch.where(polarity < 0.5 * nuisance, 1 - garment, garment)
    dull = 0.5 + (garment - 0.5) * (0.5 + 0.5 * contrast)
    garment = nuisance * dull + (1 - nuisance) * garment
    noise = (base + 0.5 * bumps(u[:, _COARSE], 4, SIDE) + 0.4 * bumps(u[:, _FINE], 10, SIDE)).clamp(0, 1) * nuisance
    if colour:
        of_garment, of_noise = (0.4 + 0.6 * u[:, _TINTS, None, None]).split(3, dim=1)
        garment, noise = garment * of_garment, noise * of_noise
    return to_bytes(opacity * garment + (1 - opacity) * noise)
