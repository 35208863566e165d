"""Scenes at 24 pixels: what towers that train in seconds learn to match with captions, scored on 4,000 pairs."""

import math
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.evaluation.image_text import class_scores, distractor_accuracy, match_pairs, zero_shot_accuracy
from common.evaluation.likelihood import fit_scale, log_likelihood
from common.evaluation.means import Mean, both
from common.protocols import EmbedsImage, EmbedsText, RanksPairs, ScoresCaptions
from common.random import uniform
from common.table import take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import Captioned, caption_log_likelihood, embedded
from data.benchmarks.worlds.scenes import PixelsToWords, alone, prompts
from data.cache import cached_tensors
from data.scenes.layout import ASPECTS, Placed, draw_scenes, fill_splits, number_of, one_changed
from data.scenes.pictures import painter, read_nouns
from data.scenes.words import Scene, Thing, Wording, meaning
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS

COUNTS = {"train": 12_000, "val": 2000, "test": 4000}
"""Pairs of each split."""
CHANGED = {"val": 1000, "test": 2000}
"""The first scenes of a split, whose captions are compared with such as have one attribute changed."""
OBJECTS = 3
"""Of a scene at most."""
FITTED = 500
"""Validation pairs on which the scale of the likelihood is fitted."""
MATCHED = 500
"""The first scenes of a split, whose captions a fusion model tells from the changed ones."""

_FIRST, _SALT = 1 << 25, "small scenes: "
"""Numbers of scenes that `Scenes` does not reach, and meanings dealt out to the splits by another hash than there."""
_VERSION = 1


class Stored(NamedTuple):
    """A split as the cache has it."""

    pixels: Tensor
    """uint8, shape (n, 3, 24, 24)."""
    numbers: Tensor
    """Of the scenes, int64, shape (n,)."""
    scenes: Tensor
    """The fields of each object, -1 where there is none, int64 of shape (n, 3, 4)."""
    changed: Tensor
    """The first scenes with one attribute changed, one scene's after the other's, shape (v, 3, 4)."""
    original: Tensor
    """The row of the scene that each of these is a variant of, int64 of shape (v,)."""
    aspect: Tensor
    """What was changed, position in `ASPECTS`, int64 of shape (v,); at most one variant a scene and aspect."""


@cache
def read_splits(data_root: str | None) -> dict[str, Stored]:
    """All splits: drawn and painted once, and kept in the cache."""

    def build() -> dict[str, Tensor]:
        drawn = (placed for placed in draw_scenes(_FIRST) if len(placed.scene) <= OBJECTS)
        splits = fill_splits(((placed, _SALT + meaning(placed.scene)) for placed in drawn), COUNTS)
        parts = {split: _stored(placed, CHANGED.get(split, 0), data_root) for split, placed in splits.items()}
        return {f"{split}/{field}": x for split, part in parts.items() for field, x in part._asdict().items()}

    tensors = cached_tensors("small-scenes", build, [TUXPAINT_STAMPS], _VERSION, data_root)
    return {split: Stored(*(tensors[f"{split}/{field}"] for field in Stored._fields)) for split in COUNTS}


def _stored(placed: list[Placed], changed: int, data_root: str | None) -> Stored:
    variants, rows = [], []
    for row, one in enumerate(placed[:changed]):
        for number, aspect in enumerate(ASPECTS):
            scene = one_changed(one, aspect)
            # An exchange of places may leave what is said as it was.
            if scene is not None and meaning(scene) != meaning(one.scene):
                variants.append(scene)
                rows.append((row, number))
    original, aspect = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).unbind(1)
    # Painted at 48 pixels; sums of four are exact, so the mean is the same on every processor.
    pixels = F.avg_pool2d(painter("muted", data_root).paint(placed)[0].float(), 2, divisor_override=1)
    numbers = torch.tensor([one.number for one in placed])
    scenes = _table([one.scene for one in placed])
    return Stored(((pixels + 2) // 4).to(torch.uint8), numbers, scenes, _table(variants), original, aspect)


def _table(scenes: list[Scene]) -> Tensor:
    absent = (-1,) * len(Thing._fields)
    rows = [[*scene, *[absent] * (OBJECTS - len(scene))] for scene in scenes]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, OBJECTS, len(absent))


def _scenes(table: Tensor) -> list[Scene]:
    return [tuple(Thing(*fields) for fields in scene if fields[0] >= 0) for scene in table.tolist()]


class SmallScenes(DrawnCaptions):
    """Scenes of one to three objects at 24x24, and what each says: 12,000 train, 2,000 validation and 4,000 test pairs.

    Scenes and captions are such as `Scenes` has, but others, and small enough for a convolution of three layers and a
    bag of words to learn in seconds. The seed draws what is trained on, so the spread over seeds is one over training
    sets too. No two splits share a caption. A caption that fits several pictures is right with each of them.

    Args:
        train_size: pairs to train on, drawn by the seed from the 12,000.
        zero_shot: adds `zero_shot/top1` and `zero_shot/log_likelihood`, see `evaluate`.
        kwargs: as in `DrawnCaptions`.
    """

    name = "small_scenes"
    primary = "mrr/gallery4000"
    counts = COUNTS
    version = _VERSION
    added_later: ClassVar[dict[str, Any]] = {"zero_shot": False}

    def __init__(self, *, train_size: int = 8000, zero_shot: bool = False, **kwargs) -> None:
        super().__init__(train_size=train_size, **kwargs)
        self.zero_shot = zero_shot

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [Wording(language, nouns[language]) for language in self.languages]
        self.stored = read_splits(self.data_root)
        splits = {}
        for split, part in self.stored.items():
            scenes = self.scenes(split)
            texts = tuple([wording.caption(scene) for scene in scenes] for wording in self.wordings)
            said = torch.tensor([number_of(meaning(scene)) for scene in scenes])
            splits[split] = Captioned(part.pixels, texts, part.numbers, said)
        return splits

    def training_set(self, train: Captioned) -> Captioned:
        drawn = uniform(train.ids, 1, self.seed, 5).flatten().argsort(stable=True)[: self.train_size]
        return self.mixed_up(take(train, drawn.sort().values))[0]

    def scenes(self, split: str) -> list[Scene]:
        """What the pictures of a split show."""
        return _scenes(self.stored[split].scenes)

    def changed_texts(self, split: str) -> list[str]:
        """The captions with one attribute changed, in the first language, in the order of `Stored.changed`."""
        return [self.wordings[0].caption(scene) for scene in _scenes(self.stored[split].changed)]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval both ways by rank and by likelihood, and captions with one attribute changed.

        The scales of the likelihoods are fitted on the validation split, for each module anew.

        Returns:
            Besides what `ImageTextBenchmark` returns, in the first language:
            `log_likelihood/galleryN`: of what is right under a softmax over the gallery, the mean of both directions.
            `attribute_accuracy`: a picture prefers its caption to all variants of it; `attribute_accuracy/class`,
            `/colour`, `/size`, `/place`: to the variant with this attribute changed. A change of place exchanges two
            objects. `attribute_log_likelihood`: of its caption against each variant in turn.
            With the switch `zero_shot/top1`: scenes of one object, by the class of the nearest prompt, whatever it says
            of size, colour and place; and `zero_shot/log_likelihood`, of the right class under a softmax over classes.
            With `match_scores`: these by the match scores, of the first 500 scenes, `matched_attribute_accuracy` ...
            With `caption_log_likelihood`: its mean over the captions, under the same name.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        image = {part: embedded(module, "embed_image", self.splits[part].pixels) for part in {"val", split}}
        metrics = self.retrieval(module, self.splits[split], image[split])
        text = {part: embedded(module, "embed_text", self.splits[part].texts[0]) for part in image}
        metrics |= self._likelihood(image, text, split)
        scores = {part: self._cosines(module, image[part], text[part], part) for part in image}
        metrics |= self._attributes(scores["val"], scores[split], split)
        if self.zero_shot:
            metrics |= self._zero_shot(module, image, split)
        if isinstance(module, RanksPairs):
            scores = {part: self._matches(module, part) for part in image}
            matched = self._attributes(scores["val"], scores[split], split)
            metrics |= {f"matched_{name}": value for name, value in matched.items()}
        if isinstance(module, ScoresCaptions):
            data = self.splits[split]
            metrics["caption_log_likelihood"] = Mean(caption_log_likelihood(module, data.pixels, data.texts[0]))
        return metrics

    def _likelihood(self, image: dict[str, Tensor], text: dict[str, Tensor], split: str) -> Metrics:
        def candidates(part: str, count: int) -> list[tuple[Tensor, Tensor]]:
            """The scores of all candidates, and which are right: for the pictures, and for the captions."""
            ids = self.splits[part].text_ids[:count].to(image[part].device)
            scores, right = image[part][:count] @ text[part][:count].T, ids[:, None] == ids
            return [(scores, right), (scores.T, right)]

        scale = fit_scale(*(torch.cat(sides) for sides in zip(*candidates("val", FITTED), strict=True)))
        found = both(*(log_likelihood(*side, scale) for side in candidates(split, COUNTS[split])))
        return {f"log_likelihood/gallery{COUNTS[split]}": found}

    def _zero_shot(self, module: nn.Module, image: dict[str, Tensor], split: str) -> Metrics:
        told, classes = prompts(self.wordings[0])
        given = embedded(module, "embed_text", told)

        def asked(part: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            rows, labels = (x.to(given.device) for x in alone(self.scenes(part)))
            return image[part][rows], given, classes.to(given.device), labels

        scale = fit_scale(*class_scores(*asked("val")))
        return {
            "zero_shot/top1": zero_shot_accuracy(*asked(split)),
            "zero_shot/log_likelihood": log_likelihood(*class_scores(*asked(split)), scale),
        }

    def _cosines(self, module: nn.Module, image: Tensor, text: Tensor, part: str) -> Tensor:
        """Of each caption with one attribute changed: its picture with its own caption and with this one, (v, 2)."""
        original = self.stored[part].original.to(image.device)
        changed = embedded(module, "embed_text", self.changed_texts(part))
        own = (image * text).sum(1)[original]
        return torch.stack([own, (image[original] * changed).sum(1)], dim=1)

    def _matches(self, module: RanksPairs, part: str) -> Tensor:
        """The same by the match scores, of the first `MATCHED` scenes."""
        original = self._originals(part, MATCHED)
        data, texts = self.splits[part], self.changed_texts(part)[: len(original)]
        changed = torch.arange(MATCHED, MATCHED + len(texts))
        pairs = torch.cat([torch.stack([original, x], dim=1) for x in (original, changed)])
        found = match_pairs(module, data.pixels[:MATCHED], [*data.texts[0][:MATCHED], *texts], pairs)
        return torch.stack(found.chunk(2), dim=1)

    def _originals(self, part: str, count: int) -> Tensor:
        """The rows of the scenes of the first variants, as far as they are among the first `count` scenes."""
        original = self.stored[part].original
        return original[original < count]

    def _attributes(self, fitted: Tensor, scores: Tensor, split: str) -> Metrics:
        """From the scores (v, 2) on validation data and on the split, whose first v variants they are of."""

        def first(x: Tensor) -> Tensor:
            return torch.zeros(len(x), dtype=torch.int64, device=x.device)

        likelihood = log_likelihood(scores, first(scores), fit_scale(fitted, first(fitted))).items
        scores, aspect = scores.cpu(), self.stored[split].aspect[: len(scores)]
        _, row, counts = self.stored[split].original[: len(scores)].unique(return_inverse=True, return_counts=True)
        own, table = scores.new_empty(len(counts)), scores.new_full((len(counts), len(ASPECTS)), -torch.inf)
        own[row], table[row, aspect] = scores.unbind(1)
        sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, row, likelihood)
        metrics = {
            "attribute_accuracy": distractor_accuracy(own, table),
            "attribute_log_likelihood": Mean(sums / counts),
        }
        for number, name in enumerate(ASPECTS):
            rows = aspect == number
            metrics[f"attribute_accuracy/{name}"] = distractor_accuracy(scores[rows, 0], scores[rows, 1:])
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Chance, and a linear map from pixels to counted words."""
        linear = self.evaluate(PixelsToWords(self.train, square=2))
        ids, copies = self.splits["test"].text_ids, self.stored["test"].original.unique(return_counts=True)[1]
        share = (ids[:, None] == ids).double().mean(1)
        chance = self.chance() | {
            f"log_likelihood/gallery{len(ids)}": float(share.log().mean()),
            "attribute_accuracy": float((1 / (1 + copies)).mean()),
            "attribute_log_likelihood": -math.log(2),
        }
        if self.zero_shot:
            classes, labels = prompts(self.wordings[0])[1], alone(self.scenes("test"))[1]
            chance["zero_shot/top1"] = float((classes == labels[:, None]).double().mean())
            chance["zero_shot/log_likelihood"] = -math.log(len(classes.unique()))
        return {"chance": chance | {f"attribute_accuracy/{name}": 0.5 for name in ASPECTS}, "pixels to words": linear}

    def fingerprint(self) -> str:
        """Over the scenes that there are, their captions, and the switches; what a seed draws follows from these."""
        self.setup()
        parts = [x for part in self.splits.values() for x in (list(part.texts), part.ids, part.text_ids)]
        changed = [self.changed_texts(split) for split in CHANGED]
        return digest(_VERSION, self.train_size, self.caption_noise, changed, *parts)
