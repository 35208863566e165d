"""Scenes at 24 pixels: what towers that train in seconds learn to match with captions, scored on 4,000 pairs."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.augmentation import Crops
from common.batches import ImageText
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.image_text import class_scores, distractor_accuracy, match_pairs, zero_shot_accuracy
from common.evaluation.likelihood import fit_scale, log_likelihood
from common.evaluation.means import Mean, both
from common.evaluation.presence import presence_probe
from common.evaluation.retrieval import listed, ranking_metrics, retrieval_metrics, same_id
from common.protocols import EmbedsImage, EmbedsText, RanksPairs, ScoresCaptions, ShowsFeatures
from common.random import uniform
from common.table import take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import AT_ONCE, Captioned, caption_log_likelihood, embedded, rows_of
from data.benchmarks.worlds.scenes import PixelsToWords, alone, prompts
from data.scenes.layout import ASPECTS, Placed, kept, number_of
from data.scenes.pictures import read_nouns
from data.scenes.small import (
    CHANGED,
    CONCEPTS,
    COUNTS,
    VERSION,
    boxes_around,
    concepts_of,
    read_boxes,
    read_splits,
    scenes_in,
)
from data.scenes.text_views import TextView, check_views, viewed
from data.scenes.words import CLASSES, COLOURS, MENTIONS, THINGS, Mention, Scene, Thing, Wording, meaning

FITTED = 500
"""Validation pairs on which the scale of the likelihood is fitted."""
MATCHED = 500
"""The first scenes of a split, whose captions a fusion model tells from the changed ones."""
PROBED = 3000
"""Pictures from which a linear map learns what they show."""

# Views and captions have random numbers of their own, which those of `ImageTextBenchmark.views` do not reach.
_LOCAL, _TEXT = 1000, 2000


class SmallScenes(DrawnCaptions):
    """Scenes of one to three objects at 24x24, and what each says: 12,000 train, 2,000 validation and 4,000 test pairs.

    Scenes and captions are such as `Scenes` has, but others, and small enough for a convolution of three layers and a
    bag of words to learn in seconds. The seed draws what is trained on, so the spread over seeds is one over training
    sets too. No two splits share a caption. A caption that fits several pictures is right with each of them.

    Args:
        train_size: pairs to train on, drawn by the seed from the 12,000; the fewer are among the more.
        mentions: what captions say of an object besides what it is: some of "size", "colour" and "place". Without the
            place a flip contradicts no caption, and splits share captions.
        omission: probability that a training caption leaves an object out; it never leaves out all.
        local_views: further views of each picture, in `ImageText.local`.
        local: how these are cut out and changed, the arguments of `Crops`.
        text_views: further captions of each picture, in `ImageText.text_views`, of which `data.scenes.text_views` says
            what there is; drawn anew each epoch, in the first language.
        concepts: batches have `ImageText.concepts`: which classes, colours, sizes and places the caption tells of, in
            the columns of `CONCEPTS`.
        boxes: batches have `ImageText.boxes`: around the objects that the caption tells of.
        zero_shot, probe, phrases, reworded: adds metrics, see `evaluate`.
        kwargs: as in `DrawnCaptions`.

    Raises:
        UserError: an argument is out of range, or boxes are asked for of pictures that are moved.
    """

    name = "small_scenes"
    primary = "mrr/gallery4000"
    counts = COUNTS
    version = VERSION
    added_later: ClassVar[dict[str, Any]] = {
        **{"zero_shot": False, "mentions": MENTIONS, "omission": 0.0, "local_views": 0, "local": None},
        **{"text_views": (), "concepts": False, "boxes": False, "probe": False, "phrases": False, "reworded": False},
    }

    def __init__(
        self,
        *,
        train_size: int = 8000,
        mentions: tuple[Mention, ...] = MENTIONS,
        omission: float = 0.0,
        local_views: int = 0,
        local: dict[str, float] | None = None,
        text_views: tuple[TextView, ...] = (),
        concepts: bool = False,
        boxes: bool = False,
        zero_shot: bool = False,
        probe: bool = False,
        phrases: bool = False,
        reworded: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(train_size=train_size, **kwargs)
        if set(mentions) - set(MENTIONS):
            raise UserError(f"data.mentions is {list(mentions)}; it must hold some of {', '.join(MENTIONS)}")
        if not 0 <= omission <= 1:
            raise UserError(f"data.omission is {omission}; it must be in [0, 1]")
        if local_views < 0:
            raise UserError(f"data.local_views is {local_views}; it must be at least 0")
        if boxes and self.augmentation.moves:
            raise UserError("data.boxes are those of the picture as it is; crop, flip, rotation, translation must be 0")
        check_views(text_views)
        self.mentions, self.omission = tuple(mentions), omission
        self.local_views, self.local = local_views, Crops(**local or {})
        self.text_views = tuple(text_views)
        self.concepts, self.boxes = concepts, boxes
        self.zero_shot, self.probe, self.phrases, self.reworded = zero_shot, probe, phrases, reworded

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [Wording(language, nouns[language], self.mentions) for language in self.languages]
        self.stored = dict(read_splits(self.data_root))
        self._scenes = {split: scenes_in(part.scenes) for split, part in self.stored.items()}
        splits = {}
        for split, part in self.stored.items():
            texts, said = self._captioned(self._scenes[split])
            splits[split] = Captioned(part.pixels, texts, part.numbers, said)
            if set(MENTIONS) - set(self.mentions):
                # Of the variants those that the captions tell from the original.
                told = (self._captioned(scenes_in(part.changed))[1] != said[part.original]).nonzero().flatten()
                variants = dict(changed=part.changed[told], original=part.original[told], aspect=part.aspect[told])
                self.stored[split] = part._replace(**variants)
        return splits

    def _captioned(self, scenes: Sequence[Scene]) -> tuple[tuple[list[str], ...], Tensor]:
        """What is said of scenes in each language, and the number of what that means."""
        texts = tuple([wording.caption(scene) for scene in scenes] for wording in self.wordings)
        numbers = [number_of(meaning(scene, self.mentions)) for scene in scenes]
        return texts, torch.tensor(numbers, dtype=torch.int64)

    def training_set(self, train: Captioned) -> Captioned:
        drawn = uniform(train.ids, 1, self.seed, 5).flatten().argsort(stable=True)[: self.train_size]
        rows = drawn.sort().values
        train, self._shown = take(train, rows), [self._scenes["train"][row] for row in rows.tolist()]
        told = self._shown
        if self.omission:
            placed = [Placed(*both) for both in zip(train.ids.tolist(), told, strict=True)]
            told = kept(placed, self.omission, self.seed)
            texts, said = self._captioned(told)
            train = train._replace(texts=texts, text_ids=said)
        train, source = self.mixed_up(train)
        self._told = [told[row] for row in source.tolist()]
        return train

    def scenes(self, split: str) -> list[Scene]:
        """What the pictures of a split show."""
        return self._scenes[split]

    def changed_texts(self, split: str) -> list[str]:
        """The captions with one attribute changed, in the first language, in the order of `Stored.changed`."""
        return [self.wordings[0].caption(scene) for scene in scenes_in(self.stored[split].changed)]

    def augmented(self, batch: Captioned, epoch: int) -> ImageText:
        """With the further views, captions, concepts and boxes that are asked for."""
        found = super().augmented(batch, epoch)
        assert isinstance(found, ImageText)
        if self.local_views:
            pixels, views = batch.pixels.float() / 255, range(self.local_views)
            cut = [self.local(pixels, batch.ids, self.seed, epoch, _LOCAL + view) for view in views]
            found = found._replace(local=torch.stack(cut))
        if not (self.text_views or self.concepts or self.boxes):
            return found
        rows = rows_of(batch.ids, self.train.ids, "train").tolist()
        told, device = [self._told[row] for row in rows], batch.ids.device
        views = [
            viewed(view, self.wordings[0], told, batch.ids, self.seed, epoch, _TEXT + number)
            for number, view in enumerate(self.text_views)
        ]
        found = found._replace(text_views=views)
        if self.concepts:
            found = found._replace(concepts=concepts_of(told).to(device))
        if self.boxes:
            boxes = read_boxes("train", self.data_root)[rows_of(batch.ids, self.splits["train"].ids, "train")]
            found = found._replace(boxes=boxes_around(told, [self._shown[row] for row in rows], boxes).to(device))
        return found

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
            With `phrases`: `phrases/map/gallery192`, mean average precision of a picture's own objects, as phrases with
            size and colour, among all such phrases.
            With `reworded`: `reworded/mrr/galleryN` and `reworded/log2_rank/galleryN`: a caption of several objects in
            reverse order looks for its own among all captions and all with one attribute changed; none of these reads
            like the query.
            With `probe`: what a linear map reads off the features, see `_probe`; of a module that embeds no text this
            alone.
            With `match_scores`: these by the match scores, of the first 500 scenes, `matched_attribute_accuracy` ...
            With `caption_log_likelihood`: its mean over the captions, under the same name.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        if self.probe and isinstance(module, EmbedsImage) and not isinstance(module, EmbedsText):
            self.check_request(module, split, EmbedsImage, EmbedsImage)
            return self._probe(module, split)
        self.check_request(module, split, EmbedsImage, EmbedsText)
        image = {part: embedded(module, "embed_image", self.splits[part].pixels) for part in {"val", split}}
        metrics = self.retrieval(module, self.splits[split], image[split])
        text = {part: embedded(module, "embed_text", self.splits[part].texts[0]) for part in image}
        metrics |= self._likelihood(image, text, split)
        scores = {part: self._cosines(module, image[part], text[part], part) for part in image}
        metrics |= self._attributes(scores["val"], scores[split], split)
        if self.zero_shot:
            metrics |= self._zero_shot(module, image, split)
        if self.phrases:
            metrics |= self._phrases(module, image[split], split)
        if self.reworded:
            metrics |= self._reworded(module, split)
        if self.probe:
            metrics |= self._probe(module, split)
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

    def _phrases(self, module: nn.Module, image: Tensor, split: str) -> Metrics:
        """Each picture looks for its objects among all phrases that there are."""
        wording = Wording(self.wordings[0].language, self.wordings[0].nouns[: len(THINGS)], ("size", "colour"))
        things = [
            Thing(kind, colour, size, 0)
            for kind in range(len(CLASSES))
            for colour in ([-1] if kind < len(THINGS) else range(len(COLOURS)))
            for size in range(2)
        ]
        row = {thing[:3]: number for number, thing in enumerate(things)}
        pairs = [(i, row[thing[:3]]) for i, scene in enumerate(self.scenes(split)) for thing in scene]
        said = embedded(module, "embed_text", [wording.phrase(thing) for thing in things])
        right = listed(torch.tensor(pairs).unique(dim=0).to(image.device))
        gallery = f"map/gallery{len(things)}"
        return {f"phrases/{gallery}": ranking_metrics(image, said, right)[gallery]}

    def _reworded(self, module: nn.Module, split: str) -> Metrics:
        """Captions of several objects in reverse order, which nobody else has, look for what says the same."""
        shown = self.scenes(split)
        gallery, keys = self._captioned([*shown, *scenes_in(self.stored[split].changed)])
        there, wording = set(gallery[0]), self.wordings[0]
        turned = [scene[::-1] for scene in shown if len(scene) > 1 and wording.caption(scene[::-1]) not in there]
        queries, numbers = self._captioned(turned)
        query, key = (embedded(module, "embed_text", texts[0]) for texts in (queries, gallery))
        found = retrieval_metrics(query, key, same_id(numbers.to(query.device), keys.to(key.device)))
        names = (f"{name}/gallery{len(keys)}" for name in ("mrr", "log2_rank"))
        return {f"reworded/{name}": found[name] for name in names}

    def _probe(self, module: nn.Module, split: str) -> Metrics:
        """What a linear map tells of which concepts a picture shows.

        It is fitted on 3,000 pictures of the training part that were not trained on, and its penalty chosen on the
        validation part. It reads `image_features` where the module has them, else what it embeds.

        Returns:
            `probe_class/map`, `probe_colour/map`, `probe_size/map`, `probe_place/map`: the mean over the concepts of
            their average precision over the pictures. `probe_class/picture_map`: the mean over the pictures of their
            average precision over the classes.
        """
        function = "image_features" if isinstance(module, ShowsFeatures) else "embed_image"
        other = (~torch.isin(self.splits["train"].ids, self.train.ids)).nonzero().flatten()[:PROBED]
        rows = {"train": other} | {part: torch.arange(len(self.scenes(part))) for part in {"val", split}}
        read = {
            part: embed_dataset(getattr(module, function), self.splits[part].pixels[at], AT_ONCE, module).cpu()
            for part, at in rows.items()
        }
        there = {part: concepts_of([self.scenes(part)[i] for i in at.tolist()]) for part, at in rows.items()}
        return presence_probe(*((read[part], there[part]) for part in ("train", "val", split)), CONCEPTS)

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
            if not rows.any():
                continue
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
        asked = [name for name in ASPECTS if f"attribute_accuracy/{name}" in linear]
        return {"chance": chance | {f"attribute_accuracy/{name}": 0.5 for name in asked}, "pixels to words": linear}

    def fingerprint(self) -> str:
        """Over the scenes that there are, their captions, and the switches; what a seed draws follows from these."""
        self.setup()
        parts = [x for part in self.splits.values() for x in (list(part.texts), part.ids, part.text_ids)]
        changed = [self.changed_texts(split) for split in CHANGED]
        later = [f"omission {self.omission}"] if self.omission else []
        return digest(VERSION, self.train_size, self.caption_noise, changed, *parts, *later)
