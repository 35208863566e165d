"""Scenes of one to five cut-outs and shapes, with captions in five languages, masks and boxes."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.text import sacre_bleu_score

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.image_text import (
    Variants,
    chance_retrieval,
    image_text_retrieval,
    match_pairs,
    reranked_retrieval,
    variant_accuracy,
    zero_shot_accuracy,
)
from common.evaluation.means import Mean
from common.protocols import Captions, EmbedsImage, EmbedsText, RanksPairs
from common.random import uniform
from common.table import joined, take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import Captioned, described, embedded, rows_of
from data.scenes.layout import ASPECTS, MOST, Placed, kept, number_of
from data.scenes.pictures import (
    CHANGED,
    COUNTS,
    VERSION,
    changed_scenes,
    read_changed_pictures,
    read_instances,
    read_nouns,
    read_pictures,
    scenes_of,
)
from data.scenes.words import (
    CLASSES,
    COLOURS,
    MENTIONS,
    PLACES,
    THINGS,
    Mention,
    Scene,
    Thing,
    Wording,
    meaning,
    phrases,
)

HARD_GALLERY = 500
"""Scenes in the gallery that holds each scene's variants too."""
SHORTLIST = 16
"""Candidates that a fusion model puts in order."""
CAPTIONED = 500
"""Pictures that a captioner describes."""


class Regions(NamedTuple):
    """The objects of n scenes, up to five each; what is not there is -1, zero or absent."""

    masks: Tensor
    """Visible part, bool of shape (n, 5, 48, 48)."""
    boxes: Tensor
    """Around the visible part: left, top, right, bottom, the last two exclusive, int16 of shape (n, 5, 4)."""
    classes: Tensor
    """Position in `CLASSES`, int64 of shape (n, 5)."""
    colours: Tensor
    """Position in `COLOURS`, -1 for a cut-out too, int64 of shape (n, 5)."""
    phrases: list[list[str]]
    """In the first language, with place: "a small red circle at the top left"."""


class Scenes(DrawnCaptions):
    """20,000 scenes to train on, 1,000 and 2,000 to score, 48x48, and what each says: "a large dog above a small star".

    An object is one of 32 cut-outs or of 8 shapes in 8 colours, small or large, at one of 9 places. A caption names all
    of them in any order, with their places, or two of them with their relation. No two splits share a caption. A
    caption that fits several pictures of a gallery is right with each of them.

    Args:
        objects: the least and the most objects of a scene to train on.
        mentions: what captions say of an object besides what it is: some of "size", "colour" and "place". Holds for all
            splits: where size is not said, small and large dogs have the same caption, which two splits may then share.
        omission: probability that a training caption leaves an object out; it never leaves out all.
        tiny_objects: share of tiny objects, 5 to 6 pixels across, in training. Adds the scores on such scenes, `_tiny`.
        held_out: so many classes that no scene to train on shows, the same for every seed. Adds
            `zero_shot_seen/top1` and `zero_shot_held_out/top1`.
        domain_shift: adds the scores on the same scenes before vivid patterns instead of muted textures, `_shifted`.
        kwargs: as in `DrawnCaptions`; `train_size` is what is left of the scenes that the other switches leave.
    """

    name = "scenes"
    primary = "recall@1/gallery2000"
    counts = COUNTS
    version = VERSION

    def __init__(
        self,
        *,
        objects: tuple[int, int] = (1, MOST),
        mentions: tuple[Mention, ...] = MENTIONS,
        omission: float = 0.0,
        tiny_objects: float = 0.0,
        held_out: int = 0,
        domain_shift: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not 1 <= objects[0] <= objects[1] <= MOST:
            raise UserError(f"data.objects is {list(objects)}; it must be two ascending numbers from 1 to {MOST}")
        if set(mentions) - set(MENTIONS):
            raise UserError(f"data.mentions is {list(mentions)}; it must hold some of {', '.join(MENTIONS)}")
        if not 0 <= omission <= 1:
            raise UserError(f"data.omission is {omission}; it must be in [0, 1]")
        if not 0 <= tiny_objects < 1:
            raise UserError(f"data.tiny_objects is {tiny_objects}; it must be at least 0 and below 1")
        if not 0 <= held_out <= 20:
            raise UserError(f"data.held_out is {held_out}; it must be from 0 to 20 of the {len(CLASSES)} classes")
        self.objects = tuple(objects)
        self.mentions = tuple(mentions)
        self.omission = omission
        self.tiny_objects = tiny_objects
        self.domain_shift = domain_shift
        order = uniform(torch.arange(len(CLASSES)), 1, 7).flatten().argsort(stable=True)
        self.held_out = order[:held_out]
        """Positions of the classes held out in `CLASSES`."""

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [Wording(language, nouns[language], self.mentions) for language in self.languages]
        tiny = {"train": self.tiny_objects, "val": 0.0, "test": 0.0}
        self.placed = {split: scenes_of(tiny[split])[split] for split in COUNTS}
        pixels = {split: read_pictures(split, tiny[split], data_root=self.data_root) for split in COUNTS}
        return {split: self.captioned(pixels[split], self.placed[split]) for split in COUNTS}

    def captioned(self, pixels: Tensor, placed: list[Placed]) -> Captioned:
        """Pictures with complete captions."""
        scenes = [one.scene for one in placed]
        return Captioned(pixels, self.texts(scenes), torch.tensor([one.number for one in placed]), self.ids(scenes))

    def texts(self, scenes: list[Scene]) -> tuple[list[str], ...]:
        return tuple([wording.caption(scene) for scene in scenes] for wording in self.wordings)

    def ids(self, scenes: list[Scene]) -> Tensor:
        return torch.tensor([number_of(meaning(scene, self.mentions)) for scene in scenes])

    def training_set(self, train: Captioned) -> Captioned:
        held_out, (least, most) = set(self.held_out.tolist()), self.objects
        rows = [
            row
            for row, placed in enumerate(self.placed["train"])
            if least <= len(placed.scene) <= most and not held_out & {thing.kind for thing in placed.scene}
        ]
        if self.train_size is not None and self.train_size > len(rows):
            raise UserError(
                f"data.train_size is {self.train_size}; data.objects and data.held_out leave {len(rows)} scenes"
            )
        rows = rows[: self.train_size]
        if len(rows) < COUNTS["train"]:
            train = take(train, torch.tensor(rows))
        if self.omission:
            told = kept([self.placed["train"][row] for row in rows], self.omission, self.seed)
            train = train._replace(texts=self.texts(told), text_ids=self.ids(told))
        return self.mixed_up(train)[0]

    def regions(self, ids: Tensor, split: str = "train") -> Regions:
        """The objects of scenes by their ids, as in a batch; masks fit the pictures as long as the geometry is kept.

        Raises:
            UserError: an id is of no scene of the split.
        """
        self.setup()
        rows = rows_of(ids, self.splits[split].ids, split)
        instances, boxes = read_instances(split, self.tiny_objects if split == "train" else 0.0, self.data_root)
        scenes = [self.placed[split][row].scene for row in rows.tolist()]
        values = torch.tensor([[*(t[:2] for t in scene), *[(-1, -1)] * (MOST - len(scene))] for scene in scenes])
        said = [[self.wordings[0].placed(thing) for thing in scene] for scene in scenes]
        masks = instances[rows, None] == torch.arange(1, MOST + 1, dtype=torch.uint8)[:, None, None]
        return Regions(masks, boxes[rows], values[..., 0], values[..., 1], said)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval, one-attribute distractors, zero-shot classes; re-ranking and captions if the module offers them.

        Returns:
            Besides what `ImageTextBenchmark` returns, in the first language:
            `zero_shot/top1`: scenes of one object, by the class of the nearest prompt of any size, colour and place.
            `distractor_accuracy/text`: a picture prefers its caption to those with one attribute changed;
            `distractor_accuracy/image`: a caption prefers its picture; `distractor_accuracy/class`, `/colour`, `/size`,
            `/place`: the mean of both for one kind of change. A change of place exchanges two objects.
            `recall@k/gallery500_distractors` and both directions: a gallery of scenes with all their variants.
            With `match_scores`: `reranked16_recall@k/gallery500_distractors` and `distractor_accuracy_matched/...`.
            With `captions`, in English: `caption/exact` (all objects, attributes and places right, in any order),
            `caption/phrase_f1` (objects with their attributes, without places) and `caption/bleu4`, in [0, 1].

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        data = self.splits[split]
        image = embedded(module, "embed_image", data.pixels)
        metrics = self.retrieval(module, data, image) | self._zero_shot(module, image, self.placed[split])
        metrics |= self._distractors(module, split)
        if self.tiny_objects:
            placed = scenes_of(self.tiny_objects)[split]
            pixels = read_pictures(split, self.tiny_objects, data_root=self.data_root)
            metrics |= self._elsewhere(module, self.captioned(pixels, placed), placed, "tiny")
        if self.domain_shift:
            shifted = data._replace(pixels=read_pictures(split, style="vivid", data_root=self.data_root))
            metrics |= self._elsewhere(module, shifted, self.placed[split], "shifted")
        if isinstance(module, Captions) and self.languages[0] == "en":
            metrics |= self._captions(module, data.pixels[:CAPTIONED], self.placed[split][:CAPTIONED])
        return metrics

    def _elsewhere(self, module: nn.Module, data: Captioned, placed: list[Placed], name: str) -> Metrics:
        """Retrieval and zero-shot classes for other pictures, with the name behind the metrics."""
        image = embedded(module, "embed_image", data.pixels)
        metrics = self.retrieval(module, data, image) | self._zero_shot(module, image, placed)
        return {f"{metric}_{name}": value for metric, value in metrics.items()}

    def _zero_shot(self, module: nn.Module, image: Tensor, placed: list[Placed]) -> Metrics:
        texts, classes = prompts(self.wordings[0])
        told = embedded(module, "embed_text", texts)
        rows, labels = alone([one.scene for one in placed])
        unseen = torch.isin(labels, self.held_out)

        def accuracy(which: Tensor) -> float:
            shown = image[rows[which].to(image.device)]
            return zero_shot_accuracy(shown, told, classes.to(image.device), labels[which].to(image.device))

        metrics = {"zero_shot/top1": accuracy(torch.ones_like(unseen))}
        if len(self.held_out):
            metrics |= {"zero_shot_seen/top1": accuracy(~unseen), "zero_shot_held_out/top1": accuracy(unseen)}
        return metrics

    def variants(self, split: str) -> tuple[Captioned, Variants]:
        """The first scenes of a split, and behind them their variants with one attribute changed that is mentioned."""
        count, changed = CHANGED[split], changed_scenes(split)
        own = take(self.splits[split], torch.arange(count))
        ids = self.ids([variant.placed.scene for variant in changed])
        original = torch.tensor([variant.row for variant in changed])
        told = (ids != own.text_ids[original]).nonzero().flatten()
        placed = [changed[i].placed for i in told.tolist()]
        copies = self.captioned(read_changed_pictures(split, self.data_root)[told], placed)
        aspect = torch.tensor([ASPECTS.index(variant.aspect) for variant in changed])
        return joined(own, copies), Variants(count, original[told], aspect[told])

    def hard_gallery(self, variants: Variants) -> Tensor:
        """Rows of `variants` that form a gallery: each scene together with its variants, as many as fit."""
        owner = torch.cat([torch.arange(variants.count), variants.original])
        return owner.argsort(stable=True)[:HARD_GALLERY]

    def _distractors(self, module: nn.Module, split: str) -> Metrics:
        data, variants = self.variants(split)
        texts = data.texts[0]
        image, text = embedded(module, "embed_image", data.pixels), embedded(module, "embed_text", texts)
        ids = data.text_ids.to(image.device)
        accuracy = variant_accuracy(lambda pairs: (image[pairs[:, 0]] * text[pairs[:, 1]]).sum(1), variants, ASPECTS)
        metrics = {f"distractor_accuracy/{name}": value for name, value in accuracy.items()}
        hard = self.hard_gallery(variants).to(image.device)
        gallery = image[hard], text[hard], ids[hard], ids[hard]
        found = image_text_retrieval(*gallery)
        if isinstance(module, RanksPairs):
            pixels, captions = data.pixels[hard.cpu()], [texts[i] for i in hard.tolist()]
            found |= reranked_retrieval(module, pixels, captions, *gallery, shortlist=SHORTLIST)
            matched = variant_accuracy(lambda pairs: match_pairs(module, data.pixels, texts, pairs), variants, ASPECTS)
            metrics |= {f"distractor_accuracy_matched/{name}": value for name, value in matched.items()}
        return metrics | {f"{name}_distractors": value for name, value in found.items()}

    def _captions(self, module: Captions, pixels: Tensor, placed: list[Placed]) -> Metrics:
        wording, scenes = self.wordings[0], [one.scene for one in placed]
        given = described(module, pixels)
        references = [wording.caption(scene) for scene in scenes]
        exact = [wording.says(caption, scene) for caption, scene in zip(given, scenes, strict=True)]
        named = [Counter(phrases(caption)) for caption in given]
        there = [Counter(phrases(reference)) for reference in references]
        right = sum((a & b).total() for a, b in zip(named, there, strict=True))
        total = sum(counter.total() for counter in (*named, *there))
        bleu = sacre_bleu_score(given, [[reference] for reference in references])
        return {
            "caption/exact": Mean(exact),
            "caption/phrase_f1": 2 * right / total,
            "caption/bleu4": float(bleu),
        }

    def floor(self) -> dict[str, Metrics]:
        """Chance, and a linear map from pixels to counted words."""
        linear = self.evaluate(PixelsToWords(self.train))
        data, variants = self.variants("test")
        copies = variants.original.bincount(minlength=variants.count).double()
        # Any prompt is as likely to be the nearest, and a shape has more of them than a cut-out.
        classes = prompts(self.wordings[0])[1]
        labels = alone([one.scene for one in self.placed["test"]])[1]
        hit = float((classes == labels[:, None]).double().mean())
        chance = self.chance() | {"zero_shot/top1": hit}
        chance |= {f"distractor_accuracy/{side}": float((1 / (1 + copies)).mean()) for side in ("text", "image")}
        chance |= {f"distractor_accuracy/{aspect}": 0.5 for aspect in ASPECTS}
        ids = data.text_ids[self.hard_gallery(variants)]
        chance |= {f"{name}_distractors": value for name, value in chance_retrieval(ids, ids).items()}
        return {"chance": chance, "pixels to words": linear}

    def fingerprint(self) -> str:
        self.setup()
        changed = []
        for split in CHANGED:
            data, variants = self.variants(split)
            changed += [list(data.texts), *variants[1:]]
        return digest(super().fingerprint(), *changed)


def prompts(wording: Wording) -> tuple[list[str], Tensor]:
    """Captions of one object for zero-shot classification, and the class of each, int64."""
    things = [
        Thing(kind, colour, size, place)
        for kind in range(len(CLASSES))
        for colour in ([-1] if kind < len(THINGS) else range(len(COLOURS)))
        for size in range(2)
        for place in range(len(PLACES))
    ]
    texts = {wording.caption((thing,)): thing.kind for thing in things}
    return list(texts), torch.tensor(list(texts.values()))


def alone(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """The rows of the scenes of one object, and its classes."""
    rows = [row for row, scene in enumerate(scenes) if len(scene) == 1]
    return torch.tensor(rows), torch.tensor([scenes[row][0].kind for row in rows])


class PixelsToWords(nn.Module):
    """Ridge regression from the pixels, averaged over squares, to the words and pairs of words of the caption.

    Args:
        train: what it learns from.
        square: side of the squares, in pixels.
    """

    def __init__(self, train: Captioned, square: int = 4) -> None:
        super().__init__()
        self.square = square
        self.words = CountVectorizer(ngram_range=(1, 2), min_df=20)
        counts = self.words.fit_transform(train.texts[0]).toarray()
        self.mean = counts.mean(axis=0)
        self.map = Ridge(alpha=10.0).fit(self._pixels(train.pixels), counts - self.mean)

    def _pixels(self, pixels: Tensor) -> np.ndarray:
        # The frames of a clip count as channels of one picture.
        return F.avg_pool2d(pixels.flatten(1, -3).float() / 255, self.square).flatten(1).numpy()

    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.from_numpy(self.map.predict(self._pixels(pixels))).float()

    def embed_video(self, frames: Tensor) -> Tensor:
        return self.embed_image(frames)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.words.transform(texts).toarray() - self.mean).float()
