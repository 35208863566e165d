"""The base of benchmarks of labelled pictures: MNIST-5k, Fashion-MNIST, CIFAR-10."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from common.augmentation import ImageAugmentation
from common.batches import Images
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.calibration import classifier_scores
from common.evaluation.class_means import class_mean_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.knn import knn_accuracy
from common.evaluation.probe import linear_probe_metrics
from common.protocols import ClassifiesImage, EmbedsImage
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.table import Table, take
from data.benchmarks.bases.noise import check_label_noise, wrong_labels
from data.benchmarks.bases.rendering import luma

_AT_ONCE = 500
"""Pictures that a module embeds in one call."""


class Crops(NamedTuple):
    """A training batch that workers have cut, before it is on its device."""

    pixels: Tensor
    """uint8, shape (views, n, channels, s, s)."""
    labels: Tensor
    ids: Tensor

    def augmented(self, augmentation: ImageAugmentation, seed: int, epoch: int) -> Images:
        """Each crop augmented as a view of its own; the same sample looks the same in any batch."""
        crops = [pixels.float() / 255 for pixels in self.pixels]
        views = [augmentation(pixels, self.ids, seed, epoch, view) for view, pixels in enumerate(crops)]
        return Images(torch.stack(views), self.labels, self.ids)


class Pictures(NamedTuple):
    """Pictures as they are stored; a batch of them has the same fields."""

    pixels: Tensor
    """uint8, shape (n, channels, height, width)."""
    labels: Tensor
    """int64, shape (n,)."""
    ids: Tensor
    """Position in the source, which no switch changes, int64, shape (n,)."""


def classified(module: ClassifiesImage, part: Pictures) -> tuple[Tensor, Tensor]:
    """What a module says of pictures, (n, classes), and their labels, (n,), on the CPU."""
    return embed_dataset(module.classify_image, part.pixels, _AT_ONCE).cpu(), part.labels


class AugmentedImages(Benchmark):
    """The base of benchmarks that learn from augmented views of labelled pictures, whatever their protocol.

    Args:
        batch_size: samples in one global batch, each in all its views.
        seed: fixes the order of the samples and their augmentation; the splits are the same for every seed.
        data_root: folder to read the source from.
        views: augmented views of each picture.
        crop, rotation, brightness, contrast, blur: with defaults for grey pictures, see `ImageAugmentation`.
        augmentation: its other arguments.
    """

    version: ClassVar[int | None] = None
    """Of what makes the pixels out of the source, see `Benchmark.origin`; none where they are the source's own."""

    def __init__(
        self,
        batch_size: int = 256,
        seed: int = 0,
        data_root: str | None = None,
        views: int = 2,
        crop: float = 0.4,
        rotation: float = 15.0,
        brightness: float = 0.4,
        contrast: float = 0.4,
        blur: float = 0.2,
        **augmentation,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if views < 1:
            raise UserError(f"data.views is {views}; it must be at least 1")
        self.views = views
        self.augmentation = ImageAugmentation(
            crop=crop, rotation=rotation, brightness=brightness, contrast=contrast, blur=blur, **augmentation
        )
        self.splits: dict[str, Pictures] = {}
        self.sampler: GlobalBatchSampler | None = None
        """Puts batches together in place of `order`, where a method sets one in its `setup`."""

    @abstractmethod
    def load(self) -> dict[str, Pictures]:
        """Reads the source and returns its fixed "train", "val" and "test" splits."""

    def training_set(self, train: Pictures) -> Pictures:
        """What methods train on, made from the train split; the switches of a subclass go here."""
        return train

    def kept(self, part: Pictures) -> Pictures:
        """What there is of a split, whatever it is for; switches that change all splits alike go here."""
        return part

    def build(self) -> None:
        self.splits = {name: self.kept(part) for name, part in self.load().items()}
        self.train = self.training_set(self.splits["train"])

    def training_ids(self) -> Tensor:
        self.setup()
        return self.train.ids

    def order(self) -> GlobalBatchSampler:
        """Who meets whom in a batch."""
        return GlobalBatchSampler(len(self.train.ids), self.batch_size, self.seed)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.train).loader_over(self.order() if self.sampler is None else self.sampler)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits that validation and test yield pass through."""
        if not isinstance(batch, Pictures):
            return batch
        return self.augmented(batch, self.moment())

    def augmented(self, batch: Pictures, epoch: int) -> Images:
        """The views of a batch at one `moment`; the same sample looks the same in any batch and on any process."""
        pixels = batch.pixels.float() / 255
        views = [self.augmentation(pixels, batch.ids, self.seed, epoch, view) for view in range(self.views)]
        return Images(torch.stack(views), batch.labels, batch.ids)

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.train.ids)} | {
            name: len(part.ids) for name, part in self.splits.items() if name != "train"
        }

    def example(self) -> Image.Image:
        """Test pictures, a row for each of the first ten classes."""
        self.setup()
        test = self.splits["test"]
        rows = [test.pixels[test.labels == label][:10] for label in test.labels.unique()[:10]]
        return contact_sheet(torch.cat(rows), columns=10)

    def fingerprint(self) -> str:
        self.setup()
        if self.version is None:
            return digest(*(tensor for part in self.used() for tensor in part))
        origin = self.origin(self.version, *(part.pixels for part in self.used()))
        return digest(origin, *(tensor for part in self.used() for tensor in (part.labels, part.ids)))

    def used(self) -> list[Pictures]:
        """What is learnt from and scored on."""
        return [self.train, *(part for name, part in self.splits.items() if name != "train")]


class LabelledImages(AugmentedImages):
    """Learns from the train split, in augmented views; scores by a nearest-neighbour vote and a linear probe.

    Both protocols fit on one fixed, balanced, correctly labelled subset of the train split, whatever the switches of a
    subclass do to the data that a method trains on: they measure the embedding and not the labels it was given.

    Args:
        shots: methods train on this many pictures of each class alone, which the seed draws out of what the other
            switches leave. Adds the metrics `probe_linear_Kshot/...` of a probe fitted on the same pictures.
        long_tail: how many times rarer the last class is than the first; class sizes fall geometrically. 1 leaves them.
        class_count: how many of the classes there are, the first ones; the others are neither trained on nor scored.
        colour: without it pictures in colour are grey, of one channel, for methods and probes.
        label_noise: share of the training pictures whose label is replaced by another class; the seed draws both.
        rare: which classes a long tail makes rare: the "last" ones, and the same pictures for every seed; or what the
            seed has "drawn", the order of the classes and the pictures that are kept.
        class_means: adds `class_means/...`, see `class_mean_metrics`, of the pictures that methods train on.
        others: as in `AugmentedImages`.
    """

    primary = "probe_linear/top1"
    classes: ClassVar[tuple[str, ...]]
    gallery_per_class: ClassVar[int]
    """Pictures of each class that the nearest-neighbour vote and the probe are fitted on."""
    added_later: ClassVar[dict[str, Any]] = {"class_count": None, "colour": True, "rare": "last", "class_means": False}

    def __init__(
        self,
        shots: int | None = None,
        long_tail: float = 1.0,
        class_count: int | None = None,
        colour: bool = True,
        label_noise: float = 0.0,
        rare: Literal["last", "drawn"] = "last",
        class_means: bool = False,
        **others,
    ) -> None:
        super().__init__(**others)
        check_label_noise(label_noise)
        if shots is not None and shots < 1:
            raise UserError(f"data.shots is {shots}; it must be at least 1")
        if not long_tail >= 1:
            raise UserError(f"data.long_tail is {long_tail}; it must be at least 1, which is balanced")
        if class_count is not None and not 2 <= class_count <= len(self.classes):
            raise UserError(f"data.class_count is {class_count}; it must be from 2 to {len(self.classes)}")
        self.shots = shots
        self.long_tail = long_tail
        self.class_count = class_count or len(self.classes)
        self.colour = colour
        self.label_noise = label_noise
        self.rare = rare
        self.class_means = class_means

    def kept(self, part: Pictures) -> Pictures:
        if self.class_count < len(self.classes):
            part = take(part, part.labels < self.class_count)
        return part if self.colour or part.pixels.shape[1] == 1 else part._replace(pixels=luma(part.pixels))

    def training_set(self, train: Pictures) -> Pictures:
        return self.tailed(train)

    def tailed(self, pictures: Pictures) -> Pictures:
        """As many of these pictures as a long tail over their classes can have, if it is the same for every seed."""
        return long_tailed(pictures, self.long_tail) if self.rare == "last" else pictures

    def build(self) -> None:
        super().build()
        self.pool = self.train
        self.train = self.labelled_set(self.seed)
        if self.label_noise:
            classes = int(self.pool.labels.max()) + 1
            wrong = wrong_labels(self.train.labels, self.train.ids, self.label_noise, classes, self.seed)
            self.train = self.train._replace(labels=wrong)

    def labelled_set(self, seed: int) -> Pictures:
        """What methods train on, with the true labels; of what the seed draws, the draw of this one."""
        found = long_tailed(self.pool, self.long_tail, seed) if self.rare == "drawn" else self.pool
        return found if self.shots is None else stratified(found, [self.shots], 6, seed)[0]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`knn20_cosine/top1`; `probe_linear/top1` and `probe_linear/log_likelihood`, see `linear_probe_metrics`.

        Returns:
            These, and if the module classifies `classifier/...`, see `classifier_metrics`, of the labels it is trained
            to predict.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        if split == "train" or split not in self.splits:
            scored = " or ".join(repr(name) for name in self.splits if name != "train")
            raise UserError(f"split is {split!r}; it must be {scored}")
        embed_image = self.offered(module, EmbedsImage).embed_image
        test = self.splits[split]
        rows, labels = embed_dataset(embed_image, test.pixels, _AT_ONCE, module).cpu(), test.labels
        metrics: Metrics = {}
        for name, fitted in self.fitted_on().items():
            train = embed_dataset(embed_image, fitted.pixels, _AT_ONCE, module).cpu(), fitted.labels
            if not metrics:
                metrics["knn20_cosine/top1"] = knn_accuracy(*train, rows, labels, k=20)
            found = linear_probe_metrics(*train, rows, labels)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        if self.class_means:
            known = embed_dataset(embed_image, self.train.pixels, _AT_ONCE, module).cpu()
            found = class_mean_metrics(known, self.train.labels, rows, labels)
            metrics |= {f"class_means/{name}": value for name, value in found.items()}
        if isinstance(module, ClassifiesImage):
            fitted_on = "val" if "val" in self.splits else None
            metrics |= classifier_scores(lambda name: self.logits(module, self.splits[name]), split, fitted_on)
        return metrics

    def logits(self, module: ClassifiesImage, part: Pictures) -> tuple[Tensor, Tensor]:
        """What the module says of pictures, (n, classes), and what it was trained to say of them, (n,)."""
        logits, labels = classified(module, part)
        return logits, self.training_labels(labels)

    def fitted_on(self) -> dict[str, Pictures]:
        """The pictures that each probe is fitted on; the first also answer the nearest-neighbour vote."""
        probes = {"probe_linear": self.gallery(self.gallery_per_class)}
        if self.shots is not None:
            probes[f"probe_linear_{self.shots}shot"] = self.train
        return probes

    def gallery(self, per_class: int) -> Pictures:
        """The first `per_class` pictures of each class of the train split, in a fixed random order."""
        return stratified(self.splits["train"], [per_class], key=1)[0]

    def training_labels(self, labels: Tensor) -> Tensor:
        """The labels that a method is trained to predict, given the true classes."""
        return labels

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the protocols on the raw pixels; with `shots`, of a classifier the probe on the same pictures."""
        pixels = self.evaluate(RawPixels())
        if self.shots is not None:
            names = ("top1", "log_likelihood")
            pixels |= {f"classifier/{name}": pixels[f"probe_linear_{self.shots}shot/{name}"] for name in names}
        right = 1 / self.class_count
        # Of the means of classes that nothing is known of only the accuracy has a value by chance.
        known = [name for name in pixels if not name.startswith("class_means/") or name.endswith("/top1")]
        chance = {name: math.log(right) if name.endswith("/log_likelihood") else right for name in known}
        return {"chance": chance, "raw pixels": pixels}

    def used(self) -> list[Pictures]:
        """The same for every seed, `shots` or not."""
        scored = (part for name, part in self.splits.items() if name != "train")
        return [self.labelled_set(0), *scored, self.gallery(self.gallery_per_class)]

    def fingerprint(self) -> str:
        found = super().fingerprint()
        if self.label_noise:
            found = digest(found, "label_noise", self.label_noise)
        return found if self.colour else digest(found, "grey")


class RawPixels(nn.Module):
    """Embeds a picture as its own pixels."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1).float() / 255


def contact_sheet(pixels: Tensor, columns: int) -> Image.Image:
    """Pictures side by side, a pixel apart.

    Args:
        pixels: uint8, shape (n, 1 or 3, h, w).
        columns: pictures in a row.
    """
    sheet = make_grid(pixels, nrow=columns, padding=1, pad_value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())


def long_tailed(pictures: Pictures, factor: float, seed: int | None = None) -> Pictures:
    """As many of these pictures as a long tail over their classes can have, whose sizes fall geometrically.

    Args:
        factor: how many times rarer the rarest class is than the commonest.
        seed: draws the order of the classes, from the commonest to the rarest, and the pictures that are kept; without
            it the last class is the rarest and the draw always the same.
    """
    if factor == 1:
        return pictures
    counts = pictures.labels.bincount().tolist()
    last = len(counts) - 1
    places, key = list(range(last + 1)), [4]
    if seed is not None:
        places = uniform(torch.arange(last + 1), 1, 5, seed).flatten().argsort(stable=True).tolist()
        key = [4, seed]
    most = min(count * factor ** (place / last) for place, count in zip(places, counts, strict=True))
    sizes = [max(1, round(most * factor ** (-place / last))) for place in places]
    order = uniform(pictures.ids, 1, *key).flatten().argsort(stable=True)
    kept = [order[pictures.labels[order] == label][:size] for label, size in enumerate(sizes)]
    return take(pictures, torch.cat(kept))


def stratified(pictures: Pictures, counts: list[int], key: int, *others: int) -> list[Pictures]:
    """Disjoint parts with `counts` pictures of every class each, drawn in an order that `key` and `others` fix.

    A count of -1 takes what is left. The draw depends on each picture's id and on nothing else.
    """
    order = uniform(pictures.ids, 1, key, *others).flatten().argsort(stable=True)
    by_class = [order[pictures.labels[order] == label] for label in pictures.labels.unique()]
    parts, start = [], 0
    for count in counts:
        stop = None if count < 0 else start + count
        parts.append(take(pictures, torch.cat([index[start:stop] for index in by_class])))
        start += max(count, 0)
    return parts
