"""Clips of one or two objects that each do something, with captions in five languages and masks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from common.batches import VideoText
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.image_text import (
    chance_retrieval,
    distractor_accuracy,
    match_pairs,
    reranked_retrieval,
    zero_shot_accuracy,
)
from common.protocols import EmbedsText, EmbedsVideo, RanksPairs
from common.random import uniform
from common.table import take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import Captioned, captioned_sheet, embedded, rows_of
from data.benchmarks.worlds.scenes import SHORTLIST, PixelsToWords
from data.scenes.layout import number_of
from data.scenes.motion import (
    COUNTS,
    MOST,
    VERBS,
    VERSION,
    Actor,
    Clip,
    MovingWording,
    clips_of,
    meaning,
    read_frames,
    read_moving_instances,
    visible,
)
from data.scenes.pictures import read_nouns
from data.scenes.words import CLASSES, COLOURS, THINGS

CHOICES = 5
"""Captions to choose from, four of them wrong."""
CHOSEN = 500
"""Clips of a split that choose, and that a fusion model re-ranks."""


class Choice(NamedTuple):
    """Clips that are to prefer their own caption to wrong ones."""

    name: str
    rows: Tensor
    """Of the clips, and of their captions among the texts, int64 of shape (n,)."""
    wrong: Tensor
    """Rows of the wrong captions among the texts, int64 of shape (n, k)."""

    def accuracy(self, score: Callable[[Tensor], Tensor]) -> float:
        """How often a clip prefers its caption to all wrong ones; `score` maps (clip, text) pairs (p, 2) to (p,)."""
        texts = torch.cat([self.rows[:, None], self.wrong], dim=1)
        pairs = torch.stack([self.rows[:, None].expand_as(texts), texts], dim=-1).flatten(0, 1)
        scores = score(pairs).view_as(texts)
        return distractor_accuracy(scores[:, 0], scores[:, 1:])


class Tracks(NamedTuple):
    """The objects of n clips, up to two each; what is not there is empty or -1."""

    masks: Tensor
    """Visible part in each frame, bool of shape (n, 8, 2, 32, 32)."""
    classes: Tensor
    """Position in `CLASSES`, int64 of shape (n, 2)."""
    colours: Tensor
    """Position in `COLOURS`, -1 for a cut-out too, int64 of shape (n, 2)."""
    verbs: Tensor
    """Position in `VERBS`, int64 of shape (n, 2)."""


class MovingScenes(DrawnCaptions):
    """6,000 clips to train on, 500 and 1,000 to score, 8 frames of 32x32: "a tent moves down and a red heart spins".

    32 cut-outs and 8 shapes in 8 colours do one of ten things each. The objects alone tell most clips of a batch apart,
    so a method may do well in retrieval and know no verb; hence captions that differ in the verb alone. No two splits
    share a caption. A caption that fits several clips of a gallery is right with each of them.

    Args:
        verb_swaps: captions with another verb that come with each training clip, drawn anew each epoch, in the first
            language.
        verb_skew: how unevenly those verbs are drawn, as a language model would: the k-th of the ten verbs has the
            weight k^-skew. 0 draws all alike.
        kwargs: as in `DrawnCaptions`; the augmentation is the same for all frames of a clip.
    """

    name = "moving_scenes"
    primary = "recall@1/gallery1000"
    counts = COUNTS
    version = VERSION

    def __init__(
        self,
        *,
        batch_size: int = 64,
        verb_swaps: int = 0,
        verb_skew: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        if self.views != 1:
            raise UserError(f"data.views is {self.views}; a clip has but one view, so it must be 1")
        # The circle cannot spin, which leaves eight others.
        if not 0 <= verb_swaps <= len(VERBS) - 2:
            raise UserError(f"data.verb_swaps is {verb_swaps}; it must be from 0 to {len(VERBS) - 2}")
        if verb_skew < 0:
            raise UserError(f"data.verb_skew is {verb_skew}; it must be at least 0")
        self.verb_swaps = verb_swaps
        self.verb_skew = verb_skew

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [MovingWording(language, nouns[language]) for language in self.languages]
        self.clips = clips_of()
        return {split: self._captioned(split) for split in COUNTS}

    def _captioned(self, split: str) -> Captioned:
        numbers, clips = zip(*self.clips[split], strict=True)
        texts = tuple([wording.caption(clip) for clip in clips] for wording in self.wordings)
        said = [number_of(meaning(clip)) for clip in clips]
        return Captioned(read_frames(split, self.data_root), texts, torch.tensor(numbers), torch.tensor(said))

    def training_set(self, train: Captioned) -> Captioned:
        if self.train_size is not None:
            train = take(train, torch.arange(self.train_size))
        train, source = self.mixed_up(train)
        # What the caption tells, which noise parts from what the clip shows.
        self._told = [self.clips["train"][row].clip for row in source.tolist()]
        return train

    def augmented(self, batch: Captioned, epoch: int) -> VideoText:
        """A batch at one epoch; the same clip looks and reads the same in any batch and on any process."""
        count, frames = batch.pixels.shape[:2]
        # With its clip's id each frame gets the same parameters.
        flat, ids = batch.pixels.flatten(0, 1).float() / 255, batch.ids.repeat_interleave(frames)
        pixels = self.augmentation(flat, ids, self.seed, epoch, 0).unflatten(0, (count, frames))
        swapped, verbs = self._verbs(batch.ids.cpu(), epoch)
        return VideoText(pixels, self.paired_texts(batch, epoch), swapped, verbs, batch.ids, batch.text_ids)

    def _verbs(self, ids: Tensor, epoch: int) -> tuple[list[list[str]], list[str]]:
        """Captions with another verb, `verb_swaps` lists of n; and the verb that they replace, n in words."""
        wording, rows = self.wordings[0], torch.searchsorted(self.train.ids, ids).tolist()
        draws = uniform(ids, 1 + len(VERBS), self.seed, epoch, -2).tolist()
        weights = [rank**-self.verb_skew for rank in range(1, len(VERBS) + 1)]
        swapped, verbs = [], []
        for row, (which, *chances) in zip(rows, draws, strict=True):
            clip = self._told[row]
            chosen = int(which * len(clip))
            actor = clip[chosen]
            others = [verb for verb in range(len(VERBS)) if verb != actor.verb and visible(actor.kind, verb)]
            # A weighted draw without replacement (Efraimidis and Spirakis 2006).
            others.sort(key=lambda verb, u=chances: u[verb] ** (1 / weights[verb]), reverse=True)
            clips = [replaced(clip, chosen, actor._replace(verb=verb)) for verb in others[: self.verb_swaps]]
            swapped.append([wording.caption(other) for other in clips])
            verbs.append(wording.verbs[actor.verb])
        return [list(column) for column in zip(*swapped, strict=True)], verbs

    def tracks(self, ids: Tensor, split: str = "train") -> Tracks:
        """The objects of clips by their ids, as in a batch, in all frames.

        Raises:
            UserError: an id is of no clip of the split.
        """
        self.setup()
        rows = rows_of(ids, self.splits[split].ids, split)
        instances = read_moving_instances(split, self.data_root)[rows]
        clips = [self.clips[split][row].clip for row in rows.tolist()]
        values = torch.tensor([[*clip, *[(-1, -1, -1)] * (MOST - len(clip))] for clip in clips])
        masks = instances[:, :, None] == torch.arange(1, MOST + 1, dtype=torch.uint8)[:, None, None]
        return Tracks(masks, *values.unbind(-1))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval in both directions, captions that differ in one thing, zero-shot verbs and classes.

        Returns:
            `video_to_text/recall@k/galleryN`, `text_to_video/recall@k/galleryN`, their mean `recall@k/galleryN` and
            `modality_gap`, all with `_xx` behind them for captions in the second and further languages. In the first:
            `verb_choice5/top1` and `noun_choice5/top1`: a clip prefers its caption to four with another verb or another
            object; `exchange_choice2/top1`: to the one in which two objects exchange their verbs.
            `zero_shot_verb/top1` and `zero_shot/top1`: verb and class of clips of one object, by the nearest prompt.
            With `match_scores`: `reranked16_recall@k/gallery500`, and the choices with `_matched` behind the name.

        Raises:
            UserError: the module does not offer `embed_video` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsVideo, EmbedsText)
        data = self.splits[split]
        video = embedded(module, "embed_video", data.pixels)
        metrics = self.retrieval(module, data, video) | self._zero_shot(module, split, video)
        texts, choices = self.choices(split)
        text = embedded(module, "embed_text", texts)
        for choice in choices:
            metrics[f"{choice.name}/top1"] = choice.accuracy(
                lambda pairs: (video[pairs[:, 0]] * text[pairs[:, 1]]).sum(1)
            )
        if isinstance(module, RanksPairs):
            few = take(data, torch.arange(CHOSEN))
            ids = few.text_ids.to(video.device)
            metrics |= reranked_retrieval(
                module, few.pixels, few.texts[0], video[:CHOSEN], text[:CHOSEN], ids, ids, SHORTLIST
            )
            for choice in choices:
                metrics[f"{choice.name}_matched/top1"] = choice.accuracy(
                    lambda pairs: match_pairs(module, few.pixels, texts, pairs)
                )
        return {name.replace("image", "video"): value for name, value in metrics.items()}

    def choices(self, split: str) -> tuple[list[str], list[Choice]]:
        """The captions of the first clips of a split, and behind them wrong ones."""
        wording, clips = self.wordings[0], self.clips[split][:CHOSEN]
        texts = [wording.caption(clip) for _, clip in clips]
        nouns = [(kind, colour) for kind in range(len(CLASSES)) for colour in colours_of(kind)]
        wrong: dict[str, dict[int, list[Clip]]] = {"verb_choice5": {}, "noun_choice5": {}, "exchange_choice2": {}}
        draws = uniform(torch.tensor([number for number, _ in clips]), 1 + len(VERBS) + len(nouns), 12).tolist()
        for row, ((_, clip), (which, *chances)) in enumerate(zip(clips, draws, strict=True)):
            chosen = int(which * len(clip))
            actor = clip[chosen]
            by_verb = sorted(range(len(VERBS)), key=chances.__getitem__)
            by_noun = [noun for _, noun in sorted(zip(chances[len(VERBS) :], nouns, strict=True))]
            verbs = [actor._replace(verb=verb) for verb in by_verb if verb != actor.verb]
            others = [Actor(*noun, actor.verb) for noun in by_noun if noun not in {one[:2] for one in clip}]
            for name, options in (("verb_choice5", verbs), ("noun_choice5", others)):
                possible = [option for option in options if visible(option.kind, option.verb)]
                wrong[name][row] = [replaced(clip, chosen, option) for option in possible[: CHOICES - 1]]
            if len(clip) == 2 and clip[0].verb != clip[1].verb:
                first, second = clip
                wrong["exchange_choice2"][row] = [(first._replace(verb=second.verb), second._replace(verb=first.verb))]
        choices = []
        for name, by_row in wrong.items():
            options = torch.arange(len(texts), len(texts) + sum(map(len, by_row.values())))
            texts += [wording.caption(clip) for group in by_row.values() for clip in group]
            choices.append(Choice(name, torch.tensor(list(by_row)), options.view(len(by_row), -1)))
        return texts, choices

    def prompts(self) -> tuple[list[str], dict[str, Tensor]]:
        """Captions of one object for zero-shot classification, and the verb and the class of each."""
        actors = [
            Actor(kind, colour, verb)
            for kind in range(len(CLASSES))
            for colour in colours_of(kind)
            for verb in range(len(VERBS))
            if visible(kind, verb)
        ]
        texts = [self.wordings[0].caption((actor,)) for actor in actors]
        kinds, _, verbs = torch.tensor(actors).unbind(1)
        return texts, {"zero_shot_verb/top1": verbs, "zero_shot/top1": kinds}

    def alone(self, split: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The rows of the clips of one object, and their labels for zero-shot classification."""
        rows = [row for row, (_, clip) in enumerate(self.clips[split]) if len(clip) == 1]
        kinds, _, verbs = torch.tensor([self.clips[split][row].clip[0] for row in rows]).unbind(1)
        return torch.tensor(rows), {"zero_shot_verb/top1": verbs, "zero_shot/top1": kinds}

    def _zero_shot(self, module: nn.Module, split: str, video: Tensor) -> Metrics:
        (texts, classes), (rows, labels) = self.prompts(), self.alone(split)
        prompts, shown = embedded(module, "embed_text", texts), video[rows.to(video.device)]
        return {
            name: zero_shot_accuracy(shown, prompts, of_prompt.to(video.device), labels[name].to(video.device))
            for name, of_prompt in classes.items()
        }

    def floor(self) -> dict[str, Metrics]:
        """Chance, and a linear map from pixels to counted words."""
        self.setup()
        linear = self.evaluate(PixelsToWords(self.train))
        ids = self.splits["test"].text_ids
        chance = {name.replace("image", "video"): value for name, value in chance_retrieval(ids, ids).items()}
        labels = self.alone("test")[1]
        for name, classes in self.prompts()[1].items():
            chance[name] = float((classes == labels[name][:, None]).double().mean())
        chance |= {f"{choice.name}/top1": 1 / (1 + choice.wrong.shape[1]) for choice in self.choices("test")[1]}
        return {"chance": chance, "pixels to words": linear}

    def example(self) -> Image.Image:
        """The first test clips, frame by frame, with their captions."""
        self.setup()
        test = take(self.splits["test"], torch.arange(16))
        strips = test.pixels.permute(0, 2, 3, 1, 4).flatten(3)
        return captioned_sheet(strips, test.texts[0], columns=2, width=16 * test.pixels.shape[-1])

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), *(self.choices(split)[0] for split in ("val", "test")))


def replaced(clip: Clip, place: int, actor: Actor) -> Clip:
    """The clip with another actor at that place."""
    return (*clip[:place], actor, *clip[place + 1 :])


def colours_of(kind: int) -> range:
    """The colours that a class comes in; -1 alone for a cut-out."""
    return range(-1, 0) if kind < len(THINGS) else range(len(COLOURS))
