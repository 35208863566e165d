"""Emoji and their names: concepts that were trained on, drawn in an unknown style, and concepts that never were."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.image_text import chance_retrieval, image_text_retrieval
from common.random import uniform
from common.table import take
from data.benchmarks.bases.emoji_concepts import VENDORS, VERSION, Concepts, read_concepts
from data.benchmarks.bases.image_text import Captioned, ImageTextBenchmark, embedded
from data.sources.emoji_names import EMOJI_NAMES, LANGUAGES
from data.sources.emoji_pictures import PICTURES, Vendor

GALLERY = {"val": 260, "test": 1000}
"""Concepts of the train split that each split asks for, as the unknown vendor draws them."""


class Emoji(ImageTextBenchmark):
    """Pictures of 1,260 concepts by three vendors, 32x32, with a name in each language: "woman mechanic", "blue heart".

    What is scored first is an unknown style: pictures by the fourth vendor of concepts that were trained on, other ones
    in "val" and in "test". Second, behind `unseen/`, unknown concepts in known styles, of which a method can know no
    more than the words they share with others; 186 concepts in "val" and 354 in "test".

    Args:
        held_out: the vendor that is never trained on: "google", "twitter", "fluent" or "openmoji".
        vendors: whose pictures to train on; by default all others'.
        crop, brightness, contrast, saturation: of the augmentation. No flips, for some arrows are called "left".
        kwargs: as in `ImageTextBenchmark`; names are in 14 languages, English first.
    """

    name = "emoji"
    primary = "recall@1/gallery1000"
    sources = (*PICTURES.values(), EMOJI_NAMES)
    spoken: ClassVar[tuple[str, ...]] = LANGUAGES
    version = VERSION

    def __init__(
        self,
        held_out: Vendor = "fluent",
        vendors: list[Vendor] | None = None,
        crop: float = 0.7,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        **kwargs,
    ) -> None:
        colours = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        super().__init__(crop=crop, **colours, **kwargs)
        if held_out not in VENDORS:
            raise UserError(f"data.held_out is {held_out!r}; it must be one of {', '.join(VENDORS)}")
        others = [vendor for vendor in VENDORS if vendor != held_out]
        self.held_out = held_out
        self.vendors = others if vendors is None else list(vendors)
        if not self.vendors or len(set(self.vendors)) < len(self.vendors) or set(self.vendors) - set(others):
            allowed = ", ".join(others)
            raise UserError(f"data.vendors is {self.vendors}; it must hold some of {allowed}, each once")
        self.unseen: dict[str, Captioned] = {}

    def load(self) -> dict[str, Captioned]:
        concepts = read_concepts(self.data_root)
        self.unseen = {split: self._captioned(concepts[split], self.vendors) for split in GALLERY}
        known = concepts["train"]
        order = uniform(known.numbers, 1, 1).flatten().argsort(stable=True)
        parts = order.split(list(GALLERY.values()))
        asked = {split: take(known, part.sort().values) for split, part in zip(GALLERY, parts, strict=True)}
        return {
            "train": self._captioned(known, self.vendors),
            **{split: self._captioned(part, [self.held_out]) for split, part in asked.items()},
        }

    def _captioned(self, concepts: Concepts, vendors: list[Vendor]) -> Captioned:
        """Every concept by every vendor, all of one vendor first."""
        columns = [VENDORS.index(vendor) for vendor in vendors]
        return Captioned(
            torch.cat([concepts.pixels[:, column] for column in columns]),
            tuple(concepts.names[language] * len(columns) for language in self.languages),
            torch.cat([concepts.numbers * len(VENDORS) + column for column in columns]),
            concepts.numbers.repeat(len(columns)),
        )

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval and modality gap of `ImageTextBenchmark` for pictures by the unknown vendor.

        Returns:
            Besides, `unseen/image_to_text/recall@k/galleryN` and so on for the unknown concepts: each name once, each
            picture of a concept by a vendor trained on.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        metrics = super().evaluate(module, split)
        data = self.unseen[split]
        image, ids = embedded(module, "embed_image", data.pixels), data.text_ids
        concepts = len(ids) // len(self.vendors)
        for language, names in zip(self.languages, data.texts, strict=True):
            text = embedded(module, "embed_text", names[:concepts])
            scores = image_text_retrieval(image, text, ids.to(image.device), ids[:concepts].to(image.device))
            suffix = "" if language == self.languages[0] else f"_{language}"
            metrics |= {f"unseen/{name}{suffix}": value for name, value in scores.items()}
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Chance, and a name as the mean of the pictures it was trained with, by pixels or by colours."""
        self.setup()
        ids = self.unseen["test"].text_ids
        unseen = chance_retrieval(ids, ids[: len(ids) // len(self.vendors)])
        return {
            "chance": self.chance() | {f"unseen/{name}": value for name, value in unseen.items()},
            "raw pixels": self.evaluate(MeanPicture(self.train, pixels)),
            "colour histogram": self.evaluate(MeanPicture(self.train, colours)),
        }

    def fingerprint(self) -> str:
        self.setup()
        unseen = (x for data in self.unseen.values() for x in (list(data.texts), data.ids))
        return digest(super().fingerprint(), *unseen)


class MeanPicture(nn.Module):
    """A picture by `describe`; a name by the mean of the pictures it was trained with, an unknown one word by word."""

    def __init__(self, train: Captioned, describe: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.describe = describe
        rows = F.normalize(describe(train.pixels), dim=1)
        self.centre = rows.mean(0)
        self.names: dict[str, Tensor] = {}
        self.words: dict[str, Tensor] = {}
        for names in train.texts:
            for name, row in zip(names, rows - self.centre, strict=True):
                self.names[name] = self.names.get(name, 0) + row
                for word in name.split():
                    self.words[word] = self.words.get(word, 0) + row

    def embed_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.describe(pixels), dim=1) - self.centre

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.names[text] if text in self.names else self._by_words(text) for text in texts])

    def _by_words(self, text: str) -> Tensor:
        known = [F.normalize(self.words[word], dim=0) for word in text.split() if word in self.words]
        return torch.stack(known).mean(0) if known else torch.zeros_like(self.centre)


def pixels(pictures: Tensor) -> Tensor:
    """The pixels as one row a picture."""
    return pictures.flatten(1).float() / 255


def colours(pictures: Tensor) -> Tensor:
    """How many pixels fall into each of 6 x 6 x 6 cells of RGB, square roots, one row a picture."""
    cells = (pictures.long() * 6 // 256).flatten(2)
    cell = (cells[:, 0] * 6 + cells[:, 1]) * 6 + cells[:, 2]
    return torch.zeros(len(cell), 216).scatter_add_(1, cell, torch.ones_like(cell, dtype=torch.float32)).sqrt()
