"""Speech in many languages, without labels or with the pictures it is about; probed for what is said and by whom."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

from common.audio import SpeechAugmentation, from_power, mix, to_power
from common.batches import SpeechViews, SpokenCaptions
from common.benchmark import Benchmark, Metrics, digest
from common.embedding.columns import Clips, Column
from common.encoders.sequence import Sequences, means_of_parts
from common.errors import UserError
from common.evaluation.abx import abx_accuracy
from common.evaluation.embed import embed_dataset
from common.evaluation.image_text import chance_retrieval, image_text_retrieval
from common.evaluation.means import both
from common.evaluation.probe import linear_probe_accuracy
from common.protocols import EmbedsImage, EmbedsSpeech, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.benchmarks.bases.duplicates import alike
from data.benchmarks.bases.recordings import CAPTION_LANGUAGES, SOURCES, VERSION, Recording, read_recordings
from data.benchmarks.bases.speech_probes import HELD_OUT, bucket, build_probes, shared_syllables
from data.cache import cached_tensors
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS, read_stamp_pictures, read_stamps

SPLITS = ("train", "val", "test")
DECIBELS = 5.0
"""Speech over noise in the noisy probes."""
LONGEST_CAPTION = 200
"""Frames of a spoken caption in a batch; few are longer."""
SIDE = 48
"""Pixels of a picture's side."""
AT_ONCE = 64
"""Recordings that a module embeds in one call."""
STAMPS_VERSION = 1
"""Of what makes the pictures that captions are spoken about."""

View = Literal["clean", "augmented"]


class Shown(NamedTuple):
    """The things that captions are spoken about."""

    pixels: Tensor
    """uint8, shape (n, 3, 48, 48)."""
    captions: list[str]
    """In English."""
    concepts: Tensor
    """Things that one spoken caption stands for have one number, int64 of shape (n,)."""
    row: dict[str, int]
    """By the key of the stamp."""


class Spoken(Benchmark):
    """12,400 recordings, 5 hours: captions, telephone prompts, letters, syllables, names of things; 59 voices.

    The ABX task asks which of two syllables of one voice is that of another voice. Linear probes of frozen features ask
    for a letter by its name (16 classes), the vowel of a syllable (5), the
    language (7) and the voice. Letters, vowels and languages are scored on voices that neither the method nor the
    classifier has met; of the voices, the method has met none, and the classifier half of what they say. A method that
    embeds pictures or text as well is also scored by retrieval between spoken captions and those, on things that it has
    not met.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        train: "unlabelled" yields `SpeechViews` of all recordings to train on, "captions" `SpokenCaptions` of pictures.
        crop: frames of an excerpt without labels, 50 a second; shorter recordings are left out.
        views: of each excerpt; "augmented" adds noise, reverberation and a background. By default one of either.
        noise, reverb, background: as in `SpeechAugmentation`.
    """

    name = "spoken"
    primary = "abx/syllable"
    sources = SOURCES

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        train: Literal["unlabelled", "captions"] = "unlabelled",
        crop: int = 48,
        views: list[View] | None = None,
        noise: float = 0.6,
        reverb: float = 0.7,
        background: float = 0.8,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in ("unlabelled", "captions"):
            raise UserError(f"data.train is {train!r}; it must be 'unlabelled' or 'captions'")
        if crop < 10:
            raise UserError(f"data.crop is {crop}; it must be at least 10 frames")
        self.views = list(views or ["clean", "augmented"])
        if unknown := set(self.views) - set(get_args(View)):
            raise UserError(f"data.views holds {min(unknown)!r}; it may hold 'clean' and 'augmented'")
        self.train = train
        self.crop = crop
        self.augmentation = SpeechAugmentation(noise, reverb, background)
        self.splits: dict[str, Tensor] = {}

    def build(self) -> None:
        self.recordings = read_recordings(self.data_root)
        self.shown = read_shown(self.data_root)
        known = self.recordings.known
        split_of = [self._split(one) for one in known]
        self.splits = {split: _positions(one == split for one in split_of) for split in SPLITS}
        self.noises = {
            part: _positions(one.source == "noise" and (bucket(one.key) < 10) == held_out for one in known)
            for part, held_out in (("train", False), ("scored", True))
        }
        self.probes = build_probes(known, self.splits["train"])
        self.syllables = {split: shared_syllables(known, split) for split in ("val", "test")}

    def _split(self, known: Recording) -> str | None:
        """By the thing for captions, by the voice for all else; None is not used at all."""
        if known.source == "stamp":
            row = self.shown.row.get(known.key)
            drawn = 19 if row is None else bucket(str(int(self.shown.concepts[row])))
            return "test" if drawn < 3 else "val" if drawn < 5 else "train"
        held_out = next((split for split, voices in HELD_OUT.items() if known.voice in voices), None)
        return held_out or (None if known.source in ("noise", "name") else "train")

    def captioned(self, split: str) -> Tensor:
        """Positions of the spoken captions of a split whose picture and transcript are known."""
        known = [self.recordings.known[i] for i in self.splits[split].tolist()]
        return self.splits[split][
            [one.source == "stamp" and one.key in self.shown.row and one.text != "" for one in known]
        ]

    def embeddable(self, split: str) -> dict[str, Column]:
        self.setup()
        if split not in self.splits:
            raise UserError(f"split is '{split}'; {self.name} has: {', '.join(self.splits)}")
        rows = self.splits[split].tolist()
        return {"speech": Column("speech", Clips(self.recordings, rows), rows)}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        rows = self.captioned("train")
        if self.train == "unlabelled":
            rows = self.splits["train"][self.recordings.lengths(self.splits["train"]) >= self.crop]
        return Table(Rows(rows)).loader(self.batch_size, self.seed)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes a training batch; the names of splits that validation and test yield pass through."""
        if not isinstance(batch, Rows):
            return batch
        epoch = self.moment()
        return self.excerpts(batch.index, epoch) if self.train == "unlabelled" else self.spoken_captions(batch.index)

    def excerpts(self, index: Tensor, epoch: int) -> SpeechViews:
        """A batch without labels at one epoch; a recording gives the same views in any batch and on any process."""
        spare = self.recordings.lengths(index) - self.crop
        offset = (uniform(index, 1, self.seed, epoch, -1).flatten() * (spare + 1)).long()
        frames, _ = self.recordings.padded(index, offset, self.crop)
        real = torch.ones(frames.shape[:2], dtype=torch.bool)
        views = []
        for number, kind in enumerate(self.views):
            key = (self.seed, epoch, number)
            if kind == "augmented":
                behind = self._background("train", index, self.crop, *key)
                views.append(self.augmentation(frames, real, behind, index, *key))
            else:
                views.append(frames)
        return SpeechViews(torch.stack(views), index)

    def _background(self, part: str, ids: Tensor, length: int, *key: int) -> Tensor:
        """A noise for each id, from some place in it and round again until it is `length` frames long."""
        which, where = uniform(ids, 2, *key, 2).unbind(1)
        noise = self.noises[part][(which * len(self.noises[part])).long()]
        own = self.recordings.lengths(noise)
        place = ((where * own).long()[:, None] + torch.arange(length)) % own[:, None]
        return self.recordings.frames[self.recordings.starts[noise][:, None] + place].float()

    def spoken_captions(self, index: Tensor) -> SpokenCaptions:
        """A batch of spoken captions."""
        frames, length = self.recordings.padded(index, longest=LONGEST_CAPTION)
        known = [self.recordings.known[i] for i in index.tolist()]
        rows = torch.tensor([self.shown.row[one.key] for one in known])
        texts = [one.text for one in known]
        captions = [self.shown.captions[row] for row in rows.tolist()]
        pixels = self.shown.pixels[rows].float() / 255
        return SpokenCaptions(frames, length, texts, captions, pixels, self.shown.concepts[rows])

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Accuracies of linear probes, and retrieval where the module embeds pictures or text too.

        Returns:
            `abx/syllable`, and `abx_noisy/syllable` where the one that is compared has noise behind it at 5 dB.
            `probe_linear/letter`, `/vowel`, `/language` and `/voice`; `probe_linear_noisy/letter` and `/vowel`, where
            what is scored has noise behind it at 5 dB and what the classifier is fitted on has none. With
            `embed_image`, `speech_to_image/recall@k/galleryN` and its reverse. With `embed_text`, the same between
            speech and `caption`, in English, and between speech and `transcript`; all languages are in one gallery.

        Raises:
            UserError: the module does not offer `embed_speech`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsSpeech)
        first, second = self.syllables[split]
        sides = [self._embedded(module, rows) for rows in (first, second)]
        noisy = [embedded(module, self.noisy(rows)) for rows in (first, second)]
        metrics = {
            "abx/syllable": both(abx_accuracy(*sides), abx_accuracy(*sides[::-1])),
            "abx_noisy/syllable": both(abx_accuracy(sides[0], noisy[1]), abx_accuracy(sides[1], noisy[0])),
        }
        for name, probe in self.probes[split].items():
            fitted = self._embedded(module, probe.fit), probe.fit_labels
            scored = self._embedded(module, probe.scored), probe.labels
            metrics[f"probe_linear/{name}"] = linear_probe_accuracy(*fitted, *scored)
            if name in ("letter", "vowel"):
                scored = embedded(module, self.noisy(probe.scored)), probe.labels
                metrics[f"probe_linear_noisy/{name}"] = linear_probe_accuracy(*fitted, *scored)
        if not isinstance(module, EmbedsImage | EmbedsText):
            return metrics
        rows, galleries = self.galleries(split)
        speech = F.normalize(self._embedded(module, rows), dim=1)
        for name, (items, ids, speech_ids) in galleries.items():
            function = "embed_image" if name == "image" else "embed_text"
            if hasattr(module, function):
                keys = F.normalize(embed_dataset(getattr(module, function), items, 256, module), dim=1)
                found = image_text_retrieval(keys.to(speech), speech, ids, speech_ids)
                metrics |= _renamed(found, name)
        return metrics

    def _embedded(self, module: nn.Module, rows: Tensor) -> Tensor:
        return embedded(module, [self.recordings.clip(i) for i in rows.tolist()])

    def noisy(self, rows: Tensor) -> list[Tensor]:
        """Recordings with a noise behind them, none of which is ever trained with."""
        frames, length = self.recordings.padded(rows)
        real = Sequences.of_lengths(frames, length).real
        behind = to_power(self._background("scored", rows, frames.shape[1], 0))
        power = mix(to_power(frames) * real[:, :, None], behind, torch.full((len(rows),), DECIBELS), real)
        cut = (one[:size] for one, size in zip(power, length.tolist(), strict=True))
        return [from_power(one / one.mean()) for one in cut]

    def galleries(self, split: str) -> tuple[Tensor, dict[str, tuple[Any, Tensor, Tensor]]]:
        """Positions of the spoken captions; what they look for: by name the items, their ids, and the ids sought."""
        rows = self.captioned(split)
        known = [self.recordings.known[i] for i in rows.tolist()]
        at = torch.tensor([self.shown.row[one.key] for one in known])
        concepts = self.shown.concepts[at]
        things = at.unique()
        texts = [f"{one.language} {one.text}" for one in known]
        number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        captions: dict[str, int] = {}
        for row in things.tolist():
            captions.setdefault(self.shown.captions[row], int(self.shown.concepts[row]))
        return rows, {
            "image": (self.shown.pixels[things], self.shown.concepts[things], concepts),
            "caption": (list(captions), torch.tensor(list(captions.values())), concepts),
            "transcript": (
                [text.partition(" ")[2] for text in number],
                torch.arange(len(number)),
                torch.tensor([number[text] for text in texts]),
            ),
        }

    def floor(self) -> dict[str, Metrics]:
        """The mean frame, those of thirds of a recording, mean and deviation, the commonest class, and chance."""
        frames = self.evaluate(MeanFrame())
        commonest, chance = {}, {}
        for name, probe in self.probes["test"].items():
            share = float((probe.labels == probe.fit_labels.mode().values).double().mean())
            for kind in ("probe_linear", "probe_linear_noisy"):
                if f"{kind}/{name}" in frames:
                    commonest[f"{kind}/{name}"] = share
                    chance[f"{kind}/{name}"] = 1 / len(probe.fit_labels.unique())
        chance |= {"abx/syllable": 0.5, "abx_noisy/syllable": 0.5}
        for name, (_, ids, speech_ids) in self.galleries("test")[1].items():
            chance |= _renamed(chance_retrieval(ids, speech_ids), name)
        return {
            "mean log-mel frame": frames,
            "means of thirds": self.evaluate(FrameThirds()),
            "mean and deviation": self.evaluate(FrameStatistics()),
            "commonest class": commonest,
            "chance": chance,
        }

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(rows) for split, rows in self.splits.items()}

    def example(self) -> str:
        self.setup()
        rows = [i for i in self.splits["test"].tolist() if self.recordings.known[i].text]
        chosen = [rows[i] for i in range(0, len(rows), len(rows) // 12)]
        seconds = (self.recordings.lengths(torch.tensor(chosen)) / 50).tolist()
        known = (self.recordings.known[i] for i in chosen)
        return "\n".join(f"{one.voice:14} {time:4.1f} s  {one.text}" for one, time in zip(known, seconds, strict=True))

    def fingerprint(self) -> str:
        """Of which recordings there are and what they say; their frames are computed, and so is where silence ends."""
        self.setup()
        origin = self.origin(VERSION, self.recordings.frames, self.recordings.starts, self.shown.pixels)
        known = (origin, STAMPS_VERSION, self.recordings.known, self.shown.captions, self.shown.row)
        tensors = [self.shown.concepts, *self.splits.values(), *self.noises.values()]
        tensors += [tensor for split in self.probes.values() for probe in split.values() for tensor in probe]
        tensors += [rows for split in self.syllables.values() for rows in split]
        return digest(known, *tensors)


class MeanFrame(nn.Module):
    """Embeds a recording as the mean of its frames."""

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return torch.stack([clip.mean(0) for clip in clips])


class FrameThirds(nn.Module):
    """Embeds a recording as the mean frames of its three thirds."""

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return means_of_parts(Sequences.padded(clips), 3)


class FrameStatistics(nn.Module):
    """Embeds a recording as the mean and the standard deviation of each band."""

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return torch.stack([torch.cat([clip.mean(0), clip.std(0)]) for clip in clips])


def embedded(module: nn.Module, clips: list[Tensor]) -> Tensor:
    """The rows of the recordings by the module's `embed_speech`, on the CPU, shape (n, d)."""
    # By length, so that a batch holds little padding; the rows go back to their places.
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    rows = embed_dataset(module.embed_speech, [clips[i] for i in order], AT_ONCE, module).cpu()
    return torch.empty_like(rows).index_copy_(0, torch.tensor(order), rows)


def _positions(chosen) -> Tensor:
    return torch.tensor([i for i, take in enumerate(chosen) if take])


def _renamed(metrics: Metrics, name: str) -> Metrics:
    """The measures of pictures and texts, where text stands for speech and pictures for `name`."""
    return {
        key.replace("image", name).replace("text", "speech"): value for key, value in metrics.items() if "_to_" in key
    }


def read_shown(data_root: str | None = None) -> Shown:
    """The stamps that have a picture, in the order of their keys."""
    stamps = {stamp.key: stamp for stamp in read_stamps(data_root)}

    def build() -> dict[str, Tensor]:
        pictures = read_stamp_pictures(data_root)
        pixels = [_on_white(Image.fromarray(pictures[key])) for key in stamps if key in pictures]
        place = torch.tensor([i for i, key in enumerate(stamps) if key in pictures])
        return {"pixels": torch.stack(pixels), "place": place}

    stored = cached_tensors("stamp-pictures", build, [TUXPAINT_STAMPS], STAMPS_VERSION, data_root)
    said = [
        {(code, caption.lower()) for code, caption in stamp.captions.items() if code in CAPTION_LANGUAGES}
        for stamp in stamps.values()
    ]
    concepts = torch.from_numpy(alike(said, 1e-6)).long()[stored["place"]]
    keys = list(stamps)
    row = {keys[place]: i for i, place in enumerate(stored["place"].tolist())}
    return Shown(stored["pixels"], [stamps[key].captions["en"] for key in row], concepts, row)


def _on_white(picture: Image.Image) -> Tensor:
    square = ImageOps.pad(picture, (SIDE, SIDE), Image.Resampling.LANCZOS, color=(255, 255, 255, 0))
    white = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    return torch.frombuffer(bytearray(white.tobytes()), dtype=torch.uint8).view(SIDE, SIDE, 3).permute(2, 0, 1)
