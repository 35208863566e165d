"""Chinese characters written again and again from their strokes: characters never seen to find again, seen to name."""

import math
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.calibration import classifier_scores
from common.evaluation.classes import class_chance, class_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean, by_group
from common.evaluation.retrieval import class_retrieval_metrics, ranking_chance
from common.protocols import ClassifiesImage, EmbedsImage
from common.random import normal, uniform
from common.sampling.batches import GlobalBatchSampler
from common.sampling.labels import MPerClassSampler
from data.benchmarks.bases.handwriting import PER_CHARACTER, PER_STROKE, brushed, stroke_table, written
from data.benchmarks.bases.images import AugmentedImages, Pictures, RawPixels, classified
from data.benchmarks.bases.rendering import renderings, to_bytes
from data.cache import cached_tensors
from data.sources.hanzi import HANZI, read_strokes

SIDE = 28
STROKES = (5, 8)
"""Fewest and most of a character that is taken; 1,962 have as many."""
SEEN, UNSEEN = 200, {"val": 60, "test": 120}
"""Characters that may be trained on, and others that are scored."""
SCORED = {"val": 2000, "test": 5000}
"""Drawings that are scored of the characters that were trained on."""
OF_EACH = 20
"""Drawings that are scored of every character that was not."""

_VERSION = 1
_POINTS, _SQUARE, _GRAIN = 6, 0.8, 0.12
"""Points of a stroke, the share of the canvas that a character's square takes, and how far a pixel strays."""
_CHOICE, _HAND, _PEN, _PAPER = 0, 1, 2, 3
"""Keys of what is drawn: the order of the characters; and for each drawing its lines, its brush and its grain."""
_AT_ONCE = 500


class Characters(AugmentedImages):
    """Learns from drawings of characters, each written anew from the middle lines of its strokes.

    Every stroke has a length, place and bend of its own, the whole is turned and slanted, the brush is thicker or
    thinner, the ink paler or darker, and the paper grainy. The seed draws those that are trained on.

    Args:
        batch_size: drawings in one global batch, each in all its views.
        per_class: drawings of a character in a batch, which then holds batch_size / per_class characters; none takes
            drawings at random.
        drawings: of each character to train on.
        characters: to train on, the first of 200 in a fixed random order.
        jitter: times what parts a drawing from the printed character, the grain included.
        others: as in `AugmentedImages`. By default a drawing is only moved, up to two pixels.
    """

    sources = (HANZI,)
    version = _VERSION
    apart: ClassVar[bool]
    """Whether the characters that are scored are others than those that are trained on."""

    def __init__(
        self,
        *,
        batch_size: int,
        per_class: int | None,
        drawings: int,
        characters: int,
        jitter: float,
        views: int = 1,
        crop: float = 1.0,
        rotation: float = 0.0,
        translation: float = 0.07,
        brightness: float = 0.0,
        contrast: float = 0.0,
        blur: float = 0.0,
        **others,
    ) -> None:
        shown = dict(crop=crop, rotation=rotation, brightness=brightness, contrast=contrast, blur=blur)
        super().__init__(batch_size=batch_size, views=views, translation=translation, **shown, **others)
        if not 2 <= characters <= SEEN:
            raise UserError(f"data.characters is {characters}; it must be from 2 to {SEEN}")
        if not 2 <= drawings <= 10_000:
            raise UserError(f"data.drawings is {drawings}; it must be from 2 to 10000")
        if not 0 <= jitter <= 2:
            raise UserError(f"data.jitter is {jitter}; it must be in [0, 2]")
        self.per_class, self.drawings, self.characters, self.jitter = per_class, drawings, characters, jitter

    def load(self) -> dict[str, Pictures]:
        def build() -> dict[str, Tensor]:
            return {split: self._drawn(split) for split in UNSEEN}

        self.lines, self.counts, self.codes = read_characters(self.data_root)
        settings = {"characters": None if self.apart else self.characters, "jitter": self.jitter}
        stored = cached_tensors("hanzi", build, self.sources, _VERSION, self.data_root, **settings)
        pixels = stored | {"train": self._drawn("train", self.seed)}
        return {split: Pictures(pixels[split], *self._layout(split)) for split in ("train", *UNSEEN)}

    def of_split(self, split: str) -> Tensor:
        """Positions of its characters among all, in the order of their labels, int64."""
        if split == "train" or not self.apart:
            return torch.arange(self.characters)
        start = SEEN if split == "val" else SEEN + UNSEEN["val"]
        return torch.arange(start, start + UNSEEN[split])

    def names(self, split: str) -> str:
        """Its characters, in the order of their labels."""
        self.setup()
        return "".join(map(chr, self.codes[self.of_split(split)].tolist()))

    def _layout(self, split: str) -> tuple[Tensor, Tensor]:
        """Label and id of each drawing."""
        rows = self.of_split(split)
        scored = OF_EACH if self.apart else SCORED.get(split, 0) // self.characters
        return renderings(self.codes[rows], [self.drawings if split == "train" else scored] * len(rows), split)

    def _drawn(self, split: str, *key: int) -> Tensor:
        labels, ids = self._layout(split)
        chunks = zip(self.of_split(split)[labels].split(_AT_ONCE), ids.split(_AT_ONCE), strict=True)
        return torch.cat([drawn(self.lines[of], self.counts[of], some, self.jitter, *key) for of, some in chunks])

    def order(self) -> GlobalBatchSampler:
        if self.per_class is None:
            return super().order()
        return MPerClassSampler(self.train.labels, self.batch_size, self.per_class, self.seed)

    def embedded(self, module: nn.Module, part: Pictures) -> Tensor:
        """Rows of drawings, (n, d), on the CPU."""
        return embed_dataset(self.offered(module, EmbedsImage).embed_image, part.pixels, _AT_ONCE, module).cpu()

    def used(self) -> list[Pictures]:
        """What is scored on, the same for every seed; what the seed draws follows from the settings."""
        return [self.splits[split] for split in UNSEEN]

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), (self.characters, self.drawings, self.jitter))


class Hanzi(Characters):
    """Characters of 5 to 8 strokes, 28x28 grey: 100 to learn from, 60 others to validate and 120 others to test.

    Of those that are scored there are 20 drawings each.

    Args:
        batch_size, per_class, drawings, characters, jitter, others: as in `Characters`.
    """

    name = "hanzi"
    primary = f"map/gallery{UNSEEN['test'] * OF_EACH}"
    apart = True

    def __init__(
        self,
        *,
        batch_size: int = 60,
        per_class: int | None = 3,
        drawings: int = 10,
        characters: int = 100,
        jitter: float = 1.0,
        **others,
    ) -> None:
        switches = dict(per_class=per_class, drawings=drawings, characters=characters, jitter=jitter)
        super().__init__(batch_size=batch_size, **switches, **others)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """By the cosine, each drawing of a split looks for the others of its character, see `class_retrieval_metrics`.

        The items of a mean are the characters, whose drawings are found or missed together.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        part = self.splits[split]
        found = class_retrieval_metrics(F.normalize(self.embedded(module, part), dim=1), part.labels)
        return {name: by_group(x, part.labels) if isinstance(x, Mean) else x for name, x in found.items()}

    def floor(self) -> dict[str, Metrics]:
        """Chance in what has a simple expectation, and the protocol on the raw pixels."""
        total = UNSEEN["test"] * OF_EACH
        chance = ranking_chance(OF_EACH - 1, total - 1, at=(1, 5))
        rows = {f"{name}/gallery{total}": value for name, value in chance.items()}
        return {"chance": rows, "raw pixels": self.evaluate(RawPixels())}


class HanziSeen(Characters):
    """200 characters of 5 to 8 strokes, 28x28 grey, 20 drawings of each to learn from: which one is a new drawing of?

    Scored are 2,000 and 5,000 drawings, as many of each character.

    Args:
        batch_size, per_class, drawings, jitter, others: as in `Characters`.
        characters: as there, a divisor of 2,000, among which the drawings that are scored are shared out.
    """

    name = "hanzi_seen"
    primary = "probe_ridge/top1"
    apart = False

    def __init__(
        self,
        *,
        batch_size: int = 64,
        per_class: int | None = None,
        drawings: int = 20,
        characters: int = SEEN,
        jitter: float = 1.0,
        **others,
    ) -> None:
        switches = dict(per_class=per_class, drawings=drawings, characters=characters, jitter=jitter)
        super().__init__(batch_size=batch_size, **switches, **others)
        if SCORED["val"] % characters:
            raise UserError(f"data.characters is {characters}; it must divide {SCORED['val']:,}")

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """As `class_metrics`, the drawings that are trained on being the gallery.

        Returns:
            These, and if the module classifies `classifier/...`, see `classifier_metrics`.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        part = self.splits[split]
        known, asked = (self.embedded(module, some) for some in (self.train, part))
        metrics = class_metrics(known, self.train.labels, asked, part.labels)
        if isinstance(module, ClassifiesImage):
            metrics |= classifier_scores(lambda name: classified(module, self.splits[name]), split)
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the protocol on the raw pixels."""
        chance, right = class_chance(self.characters, self.drawings), 1 / self.characters
        chance |= {"classifier/top1": right, "classifier/log_likelihood": math.log(right)}
        chance["classifier/log_likelihood_scaled"] = math.log(right)
        return {"chance": chance, "raw pixels": self.evaluate(RawPixels())}


def drawn(lines: Tensor, counts: Tensor, ids: Tensor, jitter: float, *key: int) -> Tensor:
    """Drawings of characters, each as its id and the key have it.

    Args:
        lines: shape (n, strokes, points, 2), in squares from -1 to 1.
        counts: strokes of each, shape (n,).
        ids: shape (n,).
        jitter: as in `Characters`.

    Returns:
        Light on dark, uint8, shape (n, 1, 28, 28).
    """
    hand = written(lines, normal(ids, lines.shape[1] * PER_STROKE + PER_CHARACTER, _HAND, *key), jitter)
    width, strength = uniform(ids, 2, _PEN, *key).unbind(1)
    ink = brushed((hand * _SQUARE + 1) * (SIDE / 2) - 0.5, counts, 0.75 + 0.5 * width, SIDE)
    grain = normal(ids, SIDE**2, _PAPER, *key).view_as(ink)
    return to_bytes(ink * (0.6 + 0.4 * strength)[:, None, None, None] + _GRAIN * jitter * grain)


@cache
def read_characters(data_root: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """The characters that are used, in an order that is random and fixed.

    Returns:
        Lines, float32 of shape (380, 8, 6, 2); strokes of each, (380,); code points, int64 of shape (380,).
    """

    def build() -> dict[str, Tensor]:
        strokes = read_strokes(data_root)
        taken = [character for character, lines in strokes.items() if STROKES[0] <= len(lines) <= STROKES[1]]
        codes = torch.tensor([ord(character) for character in taken])
        total = SEEN + sum(UNSEEN.values())
        if len(codes) < total:
            raise UserError(f"hanzi holds {len(codes)} characters of {STROKES[0]} to {STROKES[1]} strokes, not {total}")
        order = uniform(codes, 1, _CHOICE).flatten().argsort(stable=True)[:total]
        lines, counts = stroke_table([strokes[taken[row]] for row in order.tolist()], _POINTS)
        return {"lines": lines, "counts": counts, "codes": codes[order]}

    stored = cached_tensors("hanzi-characters", build, [HANZI], _VERSION, data_root)
    return stored["lines"], stored["counts"], stored["codes"]
