"""Scenes of one or two objects in few words, which can be read as pixels, and sentences that mean the same."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from common.batches import ImageText
from common.benchmark import Metrics, digest
from common.checks import check_number
from common.errors import UserError
from common.evaluation.retrieval import retrieval_metrics, same_id
from common.lettering import rendered
from common.protocols import EmbedsImage, EmbedsText
from common.random import uniform
from common.table import take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import Captioned, embedded
from data.benchmarks.worlds.scenes import PixelsToWords
from data.scenes.layout import Aspect, Placed, number_of, one_changed
from data.scenes.pictures import read_nouns
from data.scenes.small import VERSION, read_splits, scenes_in
from data.scenes.words import Mention, Scene, Wording, meaning

TOLD: tuple[Mention, ...] = ("size", "colour")
"""What captions say of an object besides what it is, in at most 51 letters a scene."""
GALLERY = {"val": 2000, "test": 4000}
"""Sentences among which one in other words is looked for."""

_SALT, _SHARES = "written scenes: ", {"test": 0.2, "val": 0.1}
_CHANGED: tuple[Aspect, ...] = ("class", "colour", "size")
# What is read in place of which picture has random numbers of its own, which those of views do not reach.
_READ = 3000


class WrittenScenes(DrawnCaptions):
    """Scenes of one or two objects at 24x24, and captions of at most 51 letters: "a large owl and a small red ring".

    8,000 to train on, 1,000 and 2,500 to score. They are those of `SmallScenes` that have no third object, dealt out
    anew by what their captions say, so that no two splits share a meaning. In place of pictures a share of each batch
    may be sentences: a caption of two objects, and the same in the other order.

    Args:
        train_size: pairs to train on, drawn by the seed from the 8,000; sentences are of these scenes as well.
        sentences: share of the samples of a batch, drawn for each sample and epoch, of which none is seen, but a
            sentence is read in two wordings, in `ImageText.sentences`; it is of a scene drawn anew.
        mismatched: the second sentence is another scene's: as much is read, and nothing is to be learnt from it.
        kwargs: as in `DrawnCaptions`.

    Raises:
        UserError: an argument is out of range.
    """

    name = "written_scenes"
    primary = "mrr/gallery2500"
    counts: ClassVar[dict[str, int]] = {"train": 8000, "val": 1000, "test": 2500}
    version = VERSION

    def __init__(
        self,
        *,
        batch_size: int = 64,
        train_size: int = 6000,
        sentences: float = 0.0,
        mismatched: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(batch_size=batch_size, train_size=train_size, **kwargs)
        check_number("data.sentences", sentences, least=0, most=1)
        if mismatched and not sentences:
            raise UserError("data.mismatched is true; data.sentences must be above 0")
        self.sentences, self.mismatched = sentences, mismatched

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [Wording(language, nouns[language], TOLD) for language in self.languages]
        parts = read_splits(self.data_root).values()
        numbers, pixels, table = (
            torch.cat(x) for x in zip(*((p.numbers, p.pixels, p.scenes) for p in parts), strict=True)
        )
        few = (table[:, 2, 0] < 0).nonzero().flatten()
        few = few[numbers[few].argsort()]
        rows: dict[str, list[int]] = {split: [] for split in self.counts}
        for row, scene in zip(few.tolist(), scenes_in(table[few]), strict=True):
            part = rows[_split_of(scene)]
            if len(part) < self.counts[_split_of(scene)]:
                part.append(row)
        self.scenes = {split: scenes_in(table[part]) for split, part in rows.items()}
        return {
            split: Captioned(pixels[part], *self._captioned(self.scenes[split], numbers[part]))
            for split, part in rows.items()
        }

    def _captioned(self, scenes: list[Scene], numbers: Tensor) -> tuple[tuple[list[str], ...], Tensor, Tensor]:
        """What is said of scenes in each language, their own numbers, and those of what is said."""
        texts = tuple([wording.caption(scene) for scene in scenes] for wording in self.wordings)
        return texts, numbers, torch.tensor([number_of(meaning(scene, TOLD)) for scene in scenes])

    def training_set(self, train: Captioned) -> Captioned:
        drawn = uniform(train.ids, 1, self.seed, 5).flatten().argsort(stable=True)[: self.train_size]
        rows = drawn.sort().values
        self._read = [scene for row in rows.tolist() if len(scene := self.scenes["train"][row]) == 2]
        return self.mixed_up(take(train, rows))[0]

    def augmented(self, batch: Captioned, epoch: int) -> ImageText:
        """With sentences in place of pictures, which are then left out; there may be none of either."""
        draws = uniform(batch.ids.cpu(), 3, self.seed, epoch, _READ)
        read = draws[:, 0] < self.sentences
        found = super().augmented(take(batch._replace(texts=tuple(batch.texts)), ~read), epoch)
        assert isinstance(found, ImageText)
        if not self.sentences:
            return found
        first, other = ((draws[read, column] * len(self._read)).long().tolist() for column in (1, 2))
        said = ([self._read[row] for row in rows] for rows in (first, other if self.mismatched else first))
        one, turned = said
        caption = self.wordings[0].caption
        return found._replace(sentences=[[caption(scene) for scene in one], [caption(scene[::-1]) for scene in turned]])

    def questions(self, split: str) -> tuple[list[str], list[str]]:
        """Sentences of two objects, and those among which each looks for what means the same, the right ones first.

        Each scene that is told of is there once. The others are captions of single objects and of scenes with one
        class, colour or size changed; no two mean the same, and none reads like a question.
        """
        scenes, numbers = self.scenes[split], self.splits[split].ids.tolist()
        caption = self.wordings[0].caption
        asked = {meaning(scene, TOLD): scene for scene in reversed(scenes) if len(scene) == 2}
        there = {said: caption(scene) for said, scene in asked.items()}
        there |= {meaning(scene, TOLD): caption(scene) for scene in scenes if len(scene) == 1}
        for number, scene in zip(numbers, scenes, strict=True):
            for aspect in _CHANGED:
                changed = one_changed(Placed(number, scene), aspect)
                if changed is not None:
                    there.setdefault(meaning(changed, TOLD), caption(changed))
        return [caption(scene[::-1]) for scene in asked.values()], list(there.values())[: GALLERY[split]]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval between pictures and captions, and of sentences by what means the same in the other order.

        Returns:
            Besides what `ImageTextBenchmark` returns: `sentences/mrr/galleryN` and `sentences/log2_rank/galleryN`, of
            which an item is a sentence, see `questions`.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        data = self.splits[split]
        metrics = self.retrieval(module, data, embedded(module, "embed_image", data.pixels))
        return metrics | self._sentences(module, split)

    def _sentences(self, module: nn.Module, split: str) -> Metrics:
        query, key = (embedded(module, "embed_text", texts) for texts in self.questions(split))
        rows = torch.arange(len(key), device=key.device)
        found = retrieval_metrics(query, key, same_id(rows[: len(query)], rows))
        return {f"sentences/{name}": found[name] for name in (f"{x}/gallery{len(key)}" for x in ("mrr", "log2_rank"))}

    def floor(self) -> dict[str, Metrics]:
        """Chance, a linear map from pixels to counted words, and for sentences the pixels that they are written in."""
        linear = PixelsToWords(self.train, square=2)
        data, size = self.splits["test"], GALLERY["test"]
        ranks = torch.arange(1, size + 1, dtype=torch.float64)
        chance = {
            f"sentences/mrr/gallery{size}": float((1 / ranks).mean()),
            f"sentences/log2_rank/gallery{size}": float(ranks.log2().mean()),
        }
        return {
            "chance": self.chance() | chance,
            "pixels to words": self.retrieval(linear, data, embedded(linear, "embed_image", data.pixels)),
            "pixels of the sentences": self._sentences(Pixels(), "test"),
        }

    def fingerprint(self) -> str:
        """Over the scenes that there are, their captions, and how many are drawn; what a seed draws follows from it."""
        self.setup()
        parts = [x for part in self.splits.values() for x in (list(part.texts), part.ids, part.text_ids)]
        asked = [self.questions(split) for split in GALLERY]
        return digest(VERSION, self.train_size, self.caption_noise, asked, *parts)


def _split_of(scene: Scene) -> str:
    draw = number_of(_SALT + meaning(scene, TOLD)) / 2**63
    for split, share in _SHARES.items():
        if draw < share:
            return split
        draw -= share
    return "train"


class Pixels(nn.Module):
    """Texts as the pixels that they are written in, dark as 1 and the ground as 0."""

    def embed_text(self, texts: list[str]) -> Tensor:
        return (rendered(texts, 24, 72, channels=1, row=8).flatten(1) == 0).float()
