"""Emoji as labelled colour pictures: sub-categories to classify, concepts to find again in another style."""

from collections import Counter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.retrieval import retrieval_metrics
from common.table import take
from data.benchmarks.bases.emoji_concepts import VENDORS, VERSION, Concepts, read_concepts
from data.benchmarks.bases.image_text import embedded
from data.benchmarks.bases.images import LabelledImages, Pictures
from data.benchmarks.bases.rendering import luma
from data.sources.emoji_names import EMOJI_NAMES
from data.sources.emoji_pictures import PICTURES, Vendor

SCORED = {"val": 2, "test": 4}
"""Concepts of each class that are scored, each by all four vendors."""


class EmojiGroups(LabelledImages):
    """The 30 largest sub-categories, such as "animal-bird" and "transport-ground": 3,264 pictures, 32x32, in colour.

    Concepts are apart: none that is scored is trained on, in any style. Every class is scored on as many of them.

    Args:
        labels: "subgroup" trains on the pictures of the 30 classes; "concept" on all 1,260 concepts, each a class of
            its own with a picture a vendor, as metric learning does. The protocols are the same.
        vendors: whose pictures to train on; by default all four: "google", "twitter", "fluent", "openmoji". The probes
            are fitted on them too.
        kwargs: as in `LabelledImages`; the augmentation changes colours. No turns, which would show black corners.
    """

    name = "emoji_groups"
    sources = (*PICTURES.values(), EMOJI_NAMES)
    gallery_per_class = 52
    version = VERSION
    added_later: ClassVar[dict[str, Any]] = {"long_tail": 1.0, "label_noise": 0.0}
    classes: ClassVar[tuple[str, ...]] = (
        *("heart", "face-concerned", "person", "person-gesture", "person-role", "person-fantasy", "person-activity"),
        *("person-sport", "animal-mammal", "animal-bird", "food-fruit", "food-prepared", "drink", "place-building"),
        *("transport-ground", "time", "sky & weather", "event", "sport", "game", "clothing", "office", "tool"),
        *("household", "arrow", "av-symbol", "other-symbol", "alphanum", "geometric", "country-flag"),
    )

    def __init__(
        self,
        labels: Literal["subgroup", "concept"] = "subgroup",
        vendors: list[Vendor] | None = None,
        flip: float = 0.5,
        rotation: float = 0.0,
        saturation: float = 0.4,
        hue: float = 0.1,
        grayscale: float = 0.2,
        **kwargs,
    ) -> None:
        self.vendors = list(VENDORS) if vendors is None else list(vendors)
        if not self.vendors or len(set(self.vendors)) < len(self.vendors) or set(self.vendors) - set(VENDORS):
            raise UserError(f"data.vendors is {self.vendors}; it must hold some of {', '.join(VENDORS)}, each once")
        if labels not in ("subgroup", "concept"):
            raise UserError(f"data.labels is {labels!r}; it must be 'subgroup' or 'concept'")
        # The smallest class has 13 concepts to train on.
        self.gallery_per_class = 13 * len(self.vendors)
        colours = dict(saturation=saturation, hue=hue, grayscale=grayscale)
        super().__init__(flip=flip, rotation=rotation, **colours, **kwargs)
        self.labels = labels
        self.concepts: dict[str, Concepts] = {}

    def load(self) -> dict[str, Pictures]:
        self.concepts = read_concepts(self.data_root)
        number = {name: label for label, name in enumerate(self.classes)}
        parts = {}
        for split, concepts in self.concepts.items():
            seen: Counter[str] = Counter()
            rows = []
            for row, emoji in enumerate(concepts.emoji):
                if emoji.subcategory in number and seen[emoji.subcategory] < SCORED.get(split, len(concepts.emoji)):
                    seen[emoji.subcategory] += 1
                    rows.append(row)
            labels = torch.tensor([number[concepts.emoji[row].subcategory] for row in rows])
            vendors = self.vendors if split == "train" else VENDORS
            parts[split] = _pictures(take(concepts, torch.tensor(rows)), labels, vendors)
        return parts

    def training_set(self, train: Pictures) -> Pictures:
        if self.labels == "concept":
            known = self.concepts["train"]
            train = _pictures(known, torch.arange(len(known.emoji)), self.vendors)
            train = train if self.colour else train._replace(pixels=luma(train.pixels))
        return self.tailed(train)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """The accuracies of `LabelledImages` over the 30 classes, and concepts that were never seen, in two styles.

        Returns:
            Besides, `fluent_to_openmoji/recall@k/galleryN` and so on: a concept as the one vendor draws it looks for
            itself as the other does, among all 354 concepts of "test" or 186 of "val".
        """
        metrics = super().evaluate(module, split)
        pixels = [self.concepts[split].pixels[:, VENDORS.index(vendor)] for vendor in ("fluent", "openmoji")]
        sides = [embedded(module, "embed_image", side if self.colour else luma(side)) for side in pixels]
        return metrics | {f"fluent_to_openmoji/{name}": value for name, value in retrieval_metrics(*sides).items()}

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the protocols on the raw pixels."""
        rows = super().floor()
        total = len(self.concepts["test"].emoji)
        ranks = torch.arange(1, total + 1, dtype=torch.float64)
        expected = {f"recall@{k}": k / total for k in (1, 5, 10)}
        expected |= {"median_rank": float(ranks.mean()), "mrr": float(ranks.reciprocal().mean())}
        rows["chance"] |= {f"fluent_to_openmoji/{name}/gallery{total}": value for name, value in expected.items()}
        return rows

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), *(self.concepts[split].numbers for split in SCORED))


def _pictures(concepts: Concepts, labels: Tensor, vendors: tuple[Vendor, ...] | list[Vendor]) -> Pictures:
    """Every concept by every vendor, all of one vendor first."""
    columns = [VENDORS.index(vendor) for vendor in vendors]
    return Pictures(
        torch.cat([concepts.pixels[:, column] for column in columns]),
        labels.repeat(len(columns)),
        torch.cat([concepts.numbers * len(VENDORS) + column for column in columns]),
    )
