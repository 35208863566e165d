"""Pictures in classes: the user's own, a folder of them for each class, or a table with a column of labels."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from common.augmentation import ImageAugmentation
from common.benchmark import Metrics
from common.embedding.columns import Column
from common.errors import UserError
from common.evaluation.calibration import classifier_scores
from common.evaluation.classes import class_chance, class_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.protocols import ClassifiesImage, EmbedsImage
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.table import Rows
from data.benchmarks.bases.images import Crops, contact_sheet
from data.benchmarks.bases.own_data import Lazy, OwnData, Part, tell, text_fault, text_of
from data.pictures import PictureReader
from data.readers import Source

AT_ONCE = 128
"""Pictures that a module embeds in one call."""
SIMCLR = {"flip": 0.5, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "jitter": 0.8,
          "grayscale": 0.2}  # fmt: skip
"""Chen et al. 2020, appendix B.9, at half the strength of colour that ImageNet takes."""
_GALLERY, _THUMB = 6, 16


class Kept(NamedTuple):
    """The pictures of a split."""

    pixels: Lazy
    """uint8 of shape (channels, s, s), each the middle of a picture."""
    labels: Tensor
    """int64, shape (n,)."""
    ids: Tensor
    """int64, shape (n,)."""


class ImageFolder(OwnData):
    """Own pictures in classes: a folder with a folder for each class, or a table of pictures and labels.

    Methods learn from random resized crops of the pictures, further augmented; whether they read the labels is theirs.
    Embeddings of the middle of each picture are scored against a gallery of training pictures, as many of each class.

    Example, with `pictures/cat/1.jpg`, `pictures/dog/7.png` and so on::

        papers fit simclr --data ImageFolder --data.path pictures --model.channels 3
        papers test simclr --ckpt_path last --data ImageFolder --data.path pictures --model.channels 3
        papers compare --data ImageFolder --data.path pictures

    Args:
        image, label: columns of the picture (its path, or its bytes) and of its class, in a table.
        side: of the pictures that methods are given, in pixels.
        colour: without it pictures are grey, of one channel.
        views: augmented views of each picture.
        crop: smallest share of the area that a random resized crop keeps, with sides from 3/4 to 4/3.
        gallery_per_class: training pictures of a class that probes are fitted on; as many as the smallest class has,
            if that has fewer.
        flip, brightness, contrast, saturation, hue, jitter, grayscale, blur: see `ImageAugmentation`. Where none of
            them is given, as in a recipe that leaves it to its data, they are SimCLR's for small pictures; where some
            are, the others are switched off.
        rotation, translation, erase: the same.
        others: as in `OwnData`.
    """

    name = "image_folder"
    primary = "probe_ridge/top1"
    media = "image"

    def __init__(
        self,
        *,
        image: str = "image",
        label: str = "label",
        side: int = 32,
        colour: bool = True,
        views: int = 2,
        crop: float = 0.2,
        gallery_per_class: int = 100,
        flip: float | None = None,
        rotation: float | None = None,
        translation: float | None = None,
        brightness: float | None = None,
        contrast: float | None = None,
        saturation: float | None = None,
        hue: float | None = None,
        jitter: float | None = None,
        grayscale: float | None = None,
        blur: float | None = None,
        erase: float | None = None,
        **others,
    ) -> None:
        super().__init__(**others)
        for name, value in (("side", side), ("views", views), ("gallery_per_class", gallery_per_class)):
            if value < 1:
                raise UserError(f"data.{name} is {value}; it must be at least 1")
        if not 0 < crop <= 1:
            raise UserError(f"data.crop is {crop}; it must be in (0, 1]")
        self.image, self.label, self.side, self.colour = image, label, side, colour
        self.views, self.crop, self.gallery_per_class = views, crop, gallery_per_class
        asked: dict[str, float | None] = dict(
            flip=flip, rotation=rotation, translation=translation, brightness=brightness, contrast=contrast,
            saturation=saturation, hue=hue, jitter=jitter, grayscale=grayscale, blur=blur, erase=erase,
        )  # fmt: skip
        said = {name: value for name, value in asked.items() if value is not None}
        self.augmentation = ImageAugmentation(**(said or SIMCLR))
        self.sampler: GlobalBatchSampler | None = None
        """Puts batches together in place of a permutation, where a method sets one in its `setup`."""
        self.classes: list[str] = []

    def columns(self) -> dict[str, str]:
        return {"image": self.image, "label": self.label}

    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        return text_fault(self.label, row[self.label])

    def faults(self, source: Source, start: int, batch: Mapping[str, list[Any]]) -> list[str | None]:
        pictures = self.reader(source).faults(batch[self.image], start, self.check == "headers")
        return [one or other for one, other in zip(super().faults(source, start, batch), pictures, strict=True)]

    def checked(self, source: Source, required: Mapping[str, str] | None = None) -> Tensor:
        if self.label not in source.columns and source.parts[0].media is not None:
            raise UserError(f"{source.name}: its pictures lie in one folder; there must be two classes, a folder each")
        return super().checked(source, required)

    def reader(self, source: Source) -> PictureReader:
        return PictureReader(source, self.image, self.root(), self.side, self.colour)

    def class_names(self, source: Source, at: Tensor) -> list[str]:
        """The class of each of these rows."""
        values = source.cells(self.label, at.tolist())
        names = getattr(source.rows.features[self.label], "names", None)
        return [text_of(value) if names is None else names[value] for value in values]

    def keys(self, source: Source, at: Tensor) -> Iterator[Path | bytes]:
        return self.media_keys(source, at, self.image)

    def strata(self, source: Source, at: Tensor) -> Tensor:
        names = self.class_names(source, at)
        order = sorted(set(names))
        return torch.tensor([order.index(name) for name in names])

    def too_few(self, source: Source, stratum: int, found: int, wanted: int) -> str:
        name = sorted(set(self.class_names(source, torch.arange(len(source)))))[stratum]
        return f"{source.name}: class '{name}' has {found} pictures; it must have {wanted}, one for each split"

    def build(self) -> None:
        super().build()
        names = {split: self.class_names(part.source, part.at) for split, part in self.splits.items()}
        self.classes = sorted(set(names["train"]))
        if len(self.classes) < 2:
            raise UserError(f"{self.path}: all pictures are of one class, '{self.classes[0]}'; there must be two")
        self.kept: dict[str, Kept] = {}
        for split, part in self.splits.items():
            if unknown := sorted(set(names[split]) - set(self.classes)):
                row = names[split].index(unknown[0])
                raise UserError(
                    f"{part.source.where(int(part.at[row]))}: class '{unknown[0]}' has no picture to train on"
                )
            if absent := sorted(set(self.classes) - set(names[split])):
                tell(f"{part.source.name}: {split} has no picture of class {', '.join(absent)}")
            number = {name: label for label, name in enumerate(self.classes)}
            labels = torch.tensor([number[name] for name in names[split]])
            self.kept[split] = Kept(Lazy(len(labels), _Whole(self.reader(part.source), part.at)), labels, part.ids)

    @cached_property
    def train(self) -> Kept:
        """What methods train on."""
        self.setup()
        return self.kept["train"]

    def train_dataloader(self) -> ResumableLoader:
        part, reader = self.part("train"), self.reader(self.part("train").source)
        self.check_method(channels=3 if self.colour else 1, image_size=self.side, classes=len(self.classes))
        batches = _Batches(reader, part, self.train.labels, self.crop, self.views)
        return self.loader(len(part.at), batches, self.sampler)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits that validation and test yield pass through."""
        epoch = self.moment()
        return batch.augmented(self.augmentation, self.seed, epoch) if isinstance(batch, Crops) else batch

    @cached_property
    def gallery(self) -> Tensor:
        """Positions of the training pictures that probes are fitted on, as many of each class."""
        labels, ids = self.train.labels, self.train.ids
        count = min(self.gallery_per_class, int(labels.bincount().min()))
        order = uniform(ids, 1, self.split_seed, _GALLERY).flatten().argsort(stable=True)
        return torch.cat([order[labels[order] == label][:count] for label in range(len(self.classes))])

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`class_metrics` of the split's pictures, the gallery being training pictures.

        Returns:
            These, and of a module that classifies `classifier/...`, see `classifier_metrics`.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        embed_image = self.check_request(module, split, EmbedsImage).embed_image
        kept, at = self.kept[split], self.gallery
        fitted = Lazy(len(at), lambda index: self.train.pixels[at[index]])
        gallery, rows = (embed_dataset(embed_image, x, AT_ONCE, module).cpu() for x in (fitted, kept.pixels))
        metrics = class_metrics(gallery, self.train.labels[at], rows, kept.labels)
        if isinstance(module, ClassifiesImage):
            metrics |= classifier_scores(lambda name: self.logits(module, name), split)
        return metrics

    def logits(self, module: ClassifiesImage, split: str) -> tuple[Tensor, Tensor]:
        """What the module says of a split's pictures, (n, classes), and their labels, (n,)."""
        kept = self.kept[split]
        logits = embed_dataset(module.classify_image, kept.pixels, AT_ONCE).cpu()
        if logits.shape[1] < len(self.classes):
            raise UserError(f"model.classes is {logits.shape[1]}; the pictures have {len(self.classes)}")
        return logits, kept.labels

    def floor(self) -> dict[str, Metrics]:
        """Chance, always the commonest class, and the protocol on the pixels themselves, at 16 a side."""
        pixels = self.evaluate(Thumbnails())
        chance = class_chance(len(self.classes), len(self.gallery) // len(self.classes))
        labels = self.kept["test"].labels
        commonest = Mean(labels == int(self.train.labels.bincount().argmax()))
        return {
            "chance": chance,
            "commonest class": {name: float(commonest) for name in chance if name.endswith("/top1")},
            f"pixels at {_THUMB}": pixels,
        }

    def embedded_columns(self, split: str) -> list[Column]:
        return [Column("image", self.kept[split].pixels, self.names(self.splits[split]))]

    def example(self) -> Image.Image:
        """Training pictures, a row for each of the first ten classes."""
        train = self.train
        rows = [(train.labels == label).nonzero().flatten()[:10] for label in range(min(10, len(self.classes)))]
        return contact_sheet(train.pixels[torch.cat(rows)], columns=10)

    def settings(self) -> tuple[object, ...]:
        return *super().settings(), self.side, self.colour, self.gallery_per_class, math.prod(self.gallery.shape)


class Thumbnails(nn.Module):
    """Embeds a picture as its own pixels, at few of them."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pixels.float() / 255, _THUMB).flatten(1)


class _Whole(NamedTuple):
    """Reads the middle of pictures by their position in a split."""

    reader: PictureReader
    at: Tensor

    def __call__(self, index: Tensor) -> Tensor:
        return self.reader(self.at[index].tolist())


class _Batches(NamedTuple):
    """Makes batches of random resized crops."""

    reader: PictureReader
    part: Part
    labels: Tensor
    crop: float
    views: int

    def __call__(self, rows: Rows, seed: int, epoch: int) -> Crops:
        ids = self.part.ids[rows.index]
        draws: Sequence[Any] = [uniform(ids, 4, seed, epoch, view).tolist() for view in range(self.views)]
        pixels = self.reader.crops(self.part.at[rows.index].tolist(), self.crop, draws)
        return Crops(pixels, self.labels[rows.index], ids)
