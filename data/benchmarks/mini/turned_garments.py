"""Garments turned by an angle that is to be told: regression on Fashion-MNIST."""

import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from common.batches import Images
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.protocols import EmbedsImage
from common.random import normal, uniform
from common.table import take
from data.benchmarks.bases.images import AugmentedImages, Pictures, RawPixels, contact_sheet, stratified
from data.benchmarks.bases.quantities import quantity_metrics
from data.benchmarks.bases.rendering import POSE_DRAWS, posed, to_bytes
from data.cache import cached_tensors
from data.sources.fashion_mnist import FASHION_MNIST, read_fashion_mnist

MOST = 60
"""Degrees that a garment is turned at most, either way."""
UNIT = 1000
"""Parts of a degree in which angles are stored: whole numbers, which are the same on every processor."""
VAL_OF_CLASS, TEST_FROM = 300, 65_000
"""Garments of each class to validate on; and the first that is tested on: by those before it the task was chosen."""

_VERSION = 1
_SHRUNK, _BRIGHT, _NOISE = 0.87, 0.8, 0.15
"""A garment's side as a share of the canvas, its brightness, and the standard deviation of a pixel."""
_SPLIT, _ANGLE, _GRAIN, _CHOICE, _VIEW = 0, 1, 2, 3, 4
"""Keys of what is drawn: splits, angles, the noise of a picture, what is trained on, and the noise of a view."""


class TurnedGarments(AugmentedImages):
    """Garments turned by -60 to 60 degrees, 28x28, grey and grainy: 2,000 train, 3,000 val and 5,000 test.

    The angles are equally spaced and dealt out at random. The seed draws which of the other garments are trained on,
    and how each of them is turned. A batch names the angle and, as its label, the interval that it is in.

    Args:
        train_size: garments to train on, up to 57,000.
        skew: how many times rarer angles near 60 degrees are than those near -60 in training; in between the density
            falls geometrically. 1 is even. What is scored is even always.
        bins: intervals of one width that the labels count.
        noise: standard deviation, of a pixel, of what parts the views.
        views, translation, brightness, contrast, blur, erase: as in `AugmentedImages`; no crops, flips and turns.
    """

    name = "turned_garments"
    primary = "probe_ridge/mae"
    sources = (FASHION_MNIST,)
    version = _VERSION

    def __init__(
        self,
        *,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        train_size: int = 2000,
        skew: float = 1.0,
        bins: int = 40,
        noise: float = 0.1,
        views: int = 2,
        translation: float = 0.0,
        brightness: float = 0.3,
        contrast: float = 0.0,
        blur: float = 0.0,
        erase: float = 0.0,
    ) -> None:
        shown = dict(translation=translation, brightness=brightness, contrast=contrast, blur=blur, erase=erase)
        super().__init__(batch_size, seed, data_root, views, crop=1.0, rotation=0.0, **shown)
        if not 10 <= train_size <= 57_000:
            raise UserError(f"data.train_size is {train_size}; it must be from 10 to 57000")
        if not 1 <= skew <= 1000:
            raise UserError(f"data.skew is {skew}; it must be from 1, which is even, to 1000")
        if bins < 2:
            raise UserError(f"data.bins is {bins}; it must be at least 2")
        if not 0 <= noise <= 1:
            raise UserError(f"data.noise is {noise}; it must be in [0, 1]")
        self.train_size, self.skew, self.bins, self.noise = train_size, skew, bins, noise

    def load(self) -> dict[str, Pictures]:
        """The labels are angles, in thousandths of a degree; the train split has none yet."""

        def build() -> dict[str, Tensor]:
            return {name: rendered(part) for name, part in scored.items()}

        garments = read_fashion_mnist(self.data_root)
        pixels, classes = (torch.cat([torch.from_numpy(x[i]) for x in garments.values()]) for i in range(2))
        everything = Pictures(pixels[:, None], classes, torch.arange(len(classes)))
        known = take(everything, everything.ids < len(garments["train"][1]))
        val, train = stratified(known, [VAL_OF_CLASS, -1], _SPLIT)
        scored = {"val": val, "test": take(everything, everything.ids >= TEST_FROM)}
        scored = {name: part._replace(labels=dealt(part.ids, 1.0, _ANGLE)) for name, part in scored.items()}
        stored = cached_tensors(self.name, build, self.sources, _VERSION, self.data_root)
        return {"train": train} | {name: part._replace(pixels=stored[name]) for name, part in scored.items()}

    def training_set(self, train: Pictures) -> Pictures:
        rows = uniform(train.ids, 1, _CHOICE, self.seed).flatten().argsort(stable=True)[: self.train_size]
        some = take(train, rows.sort().values)
        some = some._replace(labels=dealt(some.ids, self.skew, _ANGLE, self.seed))
        return some._replace(pixels=rendered(some, self.seed))

    def augmented(self, batch: Pictures, epoch: int) -> Images:
        views, angles, ids, _ = super().augmented(batch, epoch)
        if self.noise:
            side = views.shape[3:]
            grain = [normal(ids, side.numel(), _VIEW, self.seed, epoch, view) for view in range(self.views)]
            views = (views + self.noise * torch.stack(grain).view_as(views)).clamp(0, 1)
        targets = degrees(angles)
        interval = ((targets + MOST) * (self.bins / (2 * MOST))).long().clamp(0, self.bins - 1)
        return Images(views, interval, ids, targets)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """What a ridge regression fitted on the pictures that are trained on says of the angles of others.

        Returns:
            See `quantity_metrics`; `probe_ridge/mae` and `regressor/mae` are in degrees, the lower the better.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        parts = (self.train, self.splits["val"], self.splits[split])
        return quantity_metrics(module, *((part.pixels, degrees(part.labels)) for part in parts))

    def floor(self) -> dict[str, Metrics]:
        """The mean of the angles trained on, and the protocol on the raw pixels."""
        self.setup()
        said, truth = degrees(self.train.labels).mean(), degrees(self.splits["test"].labels)
        error = said - truth
        r2 = 1 - float(error.square().mean() / truth.var(correction=0))
        mean = {"probe_ridge/mae": float(error.abs().mean()), "probe_ridge/r2": r2, "probe_ridge/spearman": 0.0}
        return {"mean": mean | {"distances/spearman": 0.0}, "raw pixels": self.evaluate(RawPixels())}

    def example(self) -> Image.Image:
        """Test pictures by their angle, from the left, a row for each of ten garments of a step."""
        self.setup()
        test = self.splits["test"]
        steps = test.labels.argsort().view(10, -1)[:, :10]
        return contact_sheet(test.pixels[steps.T.flatten()], columns=10)

    def used(self) -> list[Pictures]:
        """What is scored on, the same for every seed; what the seed draws follows from the settings."""
        return [self.splits[name] for name in ("val", "test")]

    def settings(self) -> tuple[Any, ...]:
        """What decides, beside the seed, what is trained on."""
        return self.train_size, self.skew

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), self.settings())


def degrees(angles: Tensor) -> Tensor:
    """Angles as they are stored in degrees, float32."""
    return angles.float() / UNIT


def dealt(ids: Tensor, skew: float, *key: int) -> Tensor:
    """An angle for each sample: the middles of n parts of equal weight of the range, in a random order.

    Args:
        ids: shape (n,).
        skew: the density at -60 degrees over that at 60; it falls geometrically.
        key: of the order.

    Returns:
        In thousandths of a degree, int64 of shape (n,).
    """
    place = uniform(ids, 1, *key).flatten().argsort(stable=True).argsort()
    share = (2 * place + 1).double() / (2 * len(ids))
    if skew > 1:
        share = -torch.log1p(-share * (1 - 1 / skew)) / math.log(skew)
    return ((2 * share - 1) * MOST * UNIT).round().long()


def rendered(garments: Pictures, *key: int) -> Tensor:
    """Garments turned to the left by their angles, before the noise that their ids and the key have drawn.

    Args:
        garments: light on black; the labels are angles, in thousandths of a degree.

    Returns:
        uint8, shape (n, 1, 28, 28).
    """
    parts = []
    for pixels, angles, ids in zip(*(x.split(1000) for x in garments), strict=True):
        pose = torch.full((len(ids), POSE_DRAWS), 0.5)
        pose[:, 1] = (degrees(angles) / MOST + 1) / 2
        turned = posed(_BRIGHT * pixels.float() / 255, pose, scale=(_SHRUNK, _SHRUNK), degrees=MOST)
        grain = normal(ids, turned[0].numel(), _GRAIN, *key).view_as(turned)
        parts.append(to_bytes(turned + _NOISE * grain))
    return torch.cat(parts)
