"""Pictures with captions: the user's own, from any table, or a folder with metadata."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from common import batches
from common.augmentation import ImageAugmentation
from common.benchmark import Metrics
from common.embedding.columns import Column
from common.errors import UserError
from common.evaluation.geometry import modality_gap
from common.evaluation.image_text import paired_chance, paired_retrieval
from common.protocols import EmbedsImage, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows
from data.benchmarks.bases.image_text import captioned_sheet, embedded
from data.benchmarks.bases.own_data import (
    Lazy,
    OwnData,
    Part,
    Units,
    cells,
    different,
    listed_texts,
    text_fault,
    texts_in,
)
from data.pictures import PictureReader
from data.readers import Source

_CAPTION = 7


class _Captioned(NamedTuple):
    """A training batch before it is on its device."""

    pixels: Tensor
    """uint8, shape (views, n, channels, s, s)."""
    text: list[str]
    ids: Tensor
    groups: Tensor


class Gallery(NamedTuple):
    """What of a split is scored."""

    pictures: Tensor
    """Positions of the different pictures, int64 (n,)."""
    captions: list[str]
    """The m different captions."""
    places: Tensor
    """The position at which each caption stands first, int64 (m,)."""
    pairs: Tensor
    """(picture, caption) that fit, int64 (p, 2)."""


class ImageText(OwnData):
    """Own pictures with captions: a table with a column of pictures and one of captions, a caption or a list of them.

    Rows of one picture belong together, or those that a column of pair ids says do: they share a split, and in each
    epoch one of them is drawn with one of its captions, so that none is a negative of another. Pictures are scored by
    retrieval both ways among all different pictures and captions of a split.

    Example, with `captions.csv` of the columns image (paths from the folder of the file) and caption::

        papers fit clip --data ImageText --data.path captions.csv
        papers test clip --ckpt_path last --data ImageText --data.path captions.csv

    Args:
        image, caption: columns of the picture (its path, or its bytes) and of its captions.
        pair_id: column of what a row shows and says; by default it is the picture.
        side: of the pictures that methods are given, in pixels.
        colour: without it pictures are grey, of one channel.
        views: augmented views of each picture.
        crop: smallest share of the area that a random resized crop keeps, with sides from 3/4 to 4/3; 1 keeps all.
        words: at which captions are cut.
        flip, brightness, contrast, saturation, hue, jitter, grayscale, blur: see `ImageAugmentation`; a flip may
            contradict a caption.
        rotation, translation, erase: the same.
        others: as in `OwnData`.
    """

    name = "image_text"
    media = "image"

    def __init__(
        self,
        *,
        image: str = "image",
        caption: str = "caption",
        pair_id: str | None = None,
        side: int = 32,
        colour: bool = True,
        views: int = 1,
        crop: float = 1.0,
        words: int = 200,
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
        **others,
    ) -> None:
        super().__init__(**others)
        for name, value in (("side", side), ("views", views), ("words", words)):
            if value < 1:
                raise UserError(f"data.{name} is {value}; it must be at least 1")
        if not 0 < crop <= 1:
            raise UserError(f"data.crop is {crop}; it must be in (0, 1]")
        self.image, self.caption, self.pair_id = image, caption, pair_id
        self.side, self.colour, self.views, self.crop, self.words = side, colour, views, crop, words
        self.augmentation = ImageAugmentation(
            flip=flip, rotation=rotation, translation=translation, brightness=brightness, contrast=contrast,
            saturation=saturation, hue=hue, jitter=jitter, grayscale=grayscale, blur=blur, erase=erase,
        )  # fmt: skip

    def columns(self) -> dict[str, str]:
        found = {"image": self.image, "caption": self.caption}
        return found if self.pair_id is None else found | {"pair_id": self.pair_id}

    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        value = row[self.caption]
        for one in value if isinstance(value, list) and value else [value]:
            if fault := text_fault(self.caption, one or None):
                return fault
        return None if self.pair_id is None else text_fault(self.pair_id, row[self.pair_id])

    def faults(self, source: Source, start: int, batch: Mapping[str, list[Any]]) -> list[str | None]:
        pictures = self.reader(source).faults(batch[self.image], start, self.check == "headers")
        return [one or other for one, other in zip(super().faults(source, start, batch), pictures, strict=True)]

    def reader(self, source: Source) -> PictureReader:
        return PictureReader(source, self.image, self.root(), self.side, self.colour, whole=True)

    def keys(self, source: Source, at: Tensor) -> Iterator[Hashable]:
        return self.media_keys(source, at, self.image) if self.pair_id is None else texts_in(source, at, self.pair_id)

    def build(self) -> None:
        super().build()
        self._galleries: dict[str, Gallery] = {}
        found = self.gallery("test")
        self.primary = f"mrr/gallery{len(found.pictures)}"  # type: ignore[misc]
        self.check_differ(self.caption, len(found.captions))
        self.check_differ(self.image, len(found.pictures))

    def gallery(self, split: str) -> Gallery:
        """The different pictures and captions of a split, and which of them fit: those of one group."""
        if split in self._galleries:
            return self._galleries[split]
        part = self.splits[split]
        pictures, picture = different(self.media_keys(part.source, part.at, self.image))
        captions: dict[str, tuple[int, int]] = {}
        said: dict[int, set[int]] = {}
        shown: dict[int, set[int]] = {}
        for row, (value, group) in enumerate(
            zip(cells(part, torch.arange(len(part.at)), self.caption), part.groups.tolist(), strict=True)
        ):
            shown.setdefault(group, set()).add(int(picture[row]))
            for text in self.cleaned(value):
                said.setdefault(group, set()).add(captions.setdefault(text, (len(captions), row))[0])
        pairs = {(p, c) for group, there in shown.items() for p in there for c in said[group]}
        found = Gallery(
            pictures, list(captions), torch.tensor([row for _, row in captions.values()]), torch.tensor(sorted(pairs))
        )
        self._galleries[split] = found
        return found

    def cleaned(self, value: Any) -> list[str]:
        """The captions of a cell."""
        return [" ".join(text.split()[: self.words]) for text in listed_texts(value)]

    def train_dataloader(self) -> ResumableLoader:
        part = self.part("train")
        self.check_method(channels=3 if self.colour else 1, image_size=self.side)
        units = Units(part.groups)
        make = _Batches(self.reader(part.source), part, units, self.caption, self.words, self.crop, self.views)
        return self.loader(len(units), make)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits that validation and test yield pass through."""
        if not isinstance(batch, _Captioned):
            return batch
        epoch = self.moment()
        crops = [pixels.float() / 255 for pixels in batch.pixels]
        views = [self.augmentation(pixels, batch.ids, self.seed, epoch, view) for view, pixels in enumerate(crops)]
        return batches.ImageText(torch.stack(views), [batch.text], batch.ids, batch.groups)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval by the cosine in both directions, see `paired_retrieval`, and the `modality_gap`.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        found = self.gallery(split)
        image = embedded(module, "embed_image", self.pixels(split))
        text = embedded(module, "embed_text", found.captions)
        pairs = found.pairs.to(image.device).unbind(1)
        gap = modality_gap(image[pairs[0]], text[pairs[1]])
        return paired_retrieval(image, text, found.pairs) | {"modality_gap": gap}

    def pixels(self, split: str) -> Lazy:
        """The different pictures of a split, uint8, a slice of shape (n, channels, side, side)."""
        part, at = self.splits[split], self.gallery(split).pictures
        reader = self.reader(part.source)
        return Lazy(len(at), lambda index: reader(part.at[at[index]].tolist()))

    def floor(self) -> dict[str, Metrics]:
        """Pictures and captions in a random order."""
        self.setup()
        return {"chance": paired_chance(self.gallery("test").pairs)}

    def embedded_columns(self, split: str) -> list[Column]:
        """The different pictures of the split and its different captions, each named after the first row it is in."""
        part, found = self.splits[split], self.gallery(split)
        return [
            Column("image", self.pixels(split), self.names(part, found.pictures)),
            Column("text", found.captions, self.names(part, found.places)),
        ]

    def example(self) -> Image.Image:
        """The first pictures to train on, each with a caption."""
        part = self.part("train")
        at = torch.arange(min(12, len(part.at)))
        texts = [self.cleaned(value)[0] for value in cells(part, at, self.caption)]
        pixels = self.reader(part.source)(part.at[at].tolist())
        return captioned_sheet(pixels.expand(-1, 3, -1, -1), texts)

    def settings(self) -> tuple[object, ...]:
        return *super().settings(), self.side, self.colour, self.words


class _Batches(NamedTuple):
    """Makes batches of pictures with one caption each."""

    reader: PictureReader
    part: Part
    units: Units
    caption: str
    words: int
    crop: float
    views: int

    def __call__(self, rows: Rows, seed: int, epoch: int) -> _Captioned:
        at = self.units.rows(rows.index, seed, epoch)
        ids, groups = self.part.ids[at], self.part.groups[at]
        found = [listed_texts(value) for value in cells(self.part, at, self.caption)]
        draws = uniform(ids, 1, seed, epoch, _CAPTION).flatten().tolist()
        texts = [texts[int(draw * len(texts))] for texts, draw in zip(found, draws, strict=True)]
        boxes = [uniform(ids, 4, seed, epoch, view).tolist() for view in range(self.views)]
        pixels = self.reader.crops(self.part.at[at].tolist(), self.crop, boxes)
        return _Captioned(pixels, [" ".join(text.split()[: self.words]) for text in texts], ids, groups)
