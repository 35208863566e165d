"""LibriSpeech as published: without transcripts for self-supervised speech, with them to fine-tune a recognizer."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from torchmetrics.functional.text import word_error_rate

from common.audio import RATE, WaveformAugmentation
from common.batches import SpeechViews, TranscribedSpeech
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.probe import linear_probe_accuracy
from common.lines import read_lines
from common.protocols import EmbedsSpeech, TranscribesSpeech
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.lengths import SimilarLengthSampler
from data.benchmarks.mini.spoken import View, embedded
from data.published import published_folder

PARTS = {
    "960h": ("train-clean-100", "train-clean-360", "train-other-500"),
    "360h": ("train-clean-360",),
    "100h": ("train-clean-100",),
}
SCORED = {"val": "dev-clean", "test": "test-clean"}
LABELLED = {
    "100h": ("LibriSpeech/train-clean-100",),
    "10h": ("librispeech_finetuning/1h", "librispeech_finetuning/9h"),
    "1h": ("librispeech_finetuning/1h",),
    "10min": ("librispeech_finetuning/1h/0",),
}
"""The limited ones are Libri-light's (Kahn et al. 2020); those of an hour and less lie in parts of ten minutes."""
RECOGNIZED = {"val": ("dev-clean", "dev-other"), "test": ("test-clean", "test-other")}
LONGEST, SHORTEST = 320_000, 32_000
"""Samples of an excerpt at most, and of an utterance at least."""


class Utterance(NamedTuple):
    path: Path
    samples: int
    speaker: str


class _Recordings(Benchmark):
    """What both uses of LibriSpeech share: utterances that are read as batches of similar length."""

    published = True
    utterances: list[Utterance]

    def __init__(self, train: str, parts: Collection[str], workers: int, **others: Any) -> None:
        super().__init__(**others)
        if train not in parts:
            raise UserError(f"data.train is {train!r}; it must be one of {', '.join(parts)}")
        self.train = train
        self.workers = workers
        self.utterances = []

    def _folder(self) -> Path:
        raise NotImplementedError

    def _rows(self, order: SimilarLengthSampler) -> Dataset:
        """Takes a whole list of indices at once and returns a batch."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        self._folder()

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        lengths = torch.tensor([one.samples for one in self.utterances])
        order = SimilarLengthSampler(lengths, self.batch_size, self.seed, window=100)
        return ResumableLoader(self._rows(order), sampler=order, batch_size=None, num_workers=self.workers)

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.utterances)}


class _Batches(Dataset):
    """Reads a whole list of utterances at once, and makes their views."""

    def __init__(self, benchmark: "LibriSpeech", order: SimilarLengthSampler) -> None:
        self.benchmark = benchmark
        self.order = order

    def __getitem__(self, index: list[int]) -> SpeechViews:
        return self.benchmark.excerpts(index, self.order.epoch)


class LibriSpeech(_Recordings):
    """Read English, 960 hours of 2,338 speakers.

    Word error rates need a fine-tuned recognizer; what is scored here is a linear probe for the 40 speakers of the
    development or test set.

    Args:
        train: "960h", "360h" or "100h".
        batch_size: utterances in one global batch. The authors fill batches to so many samples instead.
        seed: as in `Benchmark`.
        data_root: folder that holds LibriSpeech/train-clean-100/<speaker>/<chapter>/*.flac and so on, and, for
            augmented views, musan/noise/free-sound/*.wav.
        views: of each excerpt; "augmented" adds noise, reverberation and a background.
        noise, reverb, background: as in `WaveformAugmentation`.
        workers: processes that read recordings.
    """

    name = "librispeech"
    primary = "probe_linear/speaker"

    def __init__(
        self,
        train: Literal["960h", "360h", "100h"] = "960h",
        batch_size: int = 304,
        seed: int = 0,
        data_root: str | None = None,
        views: list[View] | None = None,
        noise: float = 0.6,
        reverb: float = 0.7,
        background: float = 0.8,
        workers: int = 6,
    ) -> None:
        super().__init__(train, PARTS, workers, batch_size=batch_size, seed=seed, data_root=data_root)
        self.views = list(views or ["clean", "augmented"])
        if unknown := set(self.views) - set(get_args(View)):
            raise UserError(f"data.views holds {min(unknown)!r}; it may hold 'clean' and 'augmented'")
        self.augmentation = WaveformAugmentation(noise, reverb, background)

    def _folder(self) -> Path:
        musan = ["musan/noise/free-sound"] if "augmented" in self.views else []
        return published_folder(
            self.data_root,
            title="LibriSpeech" + (" and the noises of MUSAN" if musan else ""),
            files=[*(f"LibriSpeech/{part}" for part in (*PARTS[self.train], *SCORED.values())), *musan],
            where="https://www.openslr.org/12" + (" and https://www.openslr.org/17" if musan else ""),
            terms="CC BY 4.0",
        )

    def build(self) -> None:
        folder = self._folder()
        found = [one for part in PARTS[self.train] for one in _read_part(folder, part)]
        self.utterances = [one for one in found if one.samples >= SHORTEST]
        self.noises = sorted((folder / "musan/noise/free-sound").glob("*.wav")) if "augmented" in self.views else []

    def _rows(self, order: SimilarLengthSampler) -> Dataset:
        return _Batches(self, order)

    def excerpts(self, index: list[int], epoch: int) -> SpeechViews:
        """Views of the utterances, cut to the shortest of them and to 20 s, each of mean 0 and variance 1."""
        chosen, ids = [self.utterances[i] for i in index], torch.tensor(index)
        size = min(LONGEST, *(one.samples for one in chosen))
        spare = torch.tensor([one.samples - size for one in chosen])
        offset = (uniform(ids, 1, self.seed, epoch, -1).flatten() * (spare + 1)).long().tolist()
        clean = torch.stack([_read(one.path, start, size) for one, start in zip(chosen, offset, strict=True)])
        views = []
        for number, kind in enumerate(self.views):
            key = (self.seed, epoch, number)
            if kind == "augmented":
                views.append(self.augmentation(clean, self._background(ids, size, *key), ids, *key))
            else:
                views.append(clean)
        return SpeechViews(F.layer_norm(torch.stack(views), (size,)), ids)

    def _background(self, ids: Tensor, size: int, *key: int) -> Tensor:
        """A noise for each id, from its beginning and round again until it is long enough."""
        drawn = (uniform(ids, 1, *key, 2).flatten() * len(self.noises)).long().tolist()
        noises = [_read(self.noises[i], 0, size) for i in drawn]
        return torch.stack([noise.repeat(-(-size // len(noise)))[:size] for noise in noises])

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`probe_linear/speaker`: fitted on every other utterance of dev-clean or test-clean, scored on the rest.

        Raises:
            UserError: the module does not offer `embed_speech`, or there is no such split.
        """
        self.check_request(module, split, EmbedsSpeech)
        utterances = _read_part(self._folder(), SCORED[split])
        speakers = sorted({one.speaker for one in utterances})
        labels = torch.tensor([speakers.index(one.speaker) for one in utterances])
        clips = [_read(one.path, 0, min(one.samples, LONGEST)) for one in utterances]
        rows = embedded(module, [F.layer_norm(clip, clip.shape) for clip in clips])
        fit, scored = slice(0, None, 2), slice(1, None, 2)
        return {self.primary: linear_probe_accuracy(rows[fit], labels[fit], rows[scored], labels[scored])}

    def floor(self) -> dict[str, Metrics]:
        """Chance."""
        return {"chance": {self.primary: 1 / 40}}

    def fingerprint(self) -> str:
        """Of the names and lengths of the recordings, which are too large to be read for it."""
        self.setup()
        listed = [(one.path.name, one.samples) for one in self.utterances]
        return digest((listed, [noise.name for noise in self.noises]))


class _Transcribed(Dataset):
    """Reads a whole list of utterances at once, with what they say."""

    def __init__(self, utterances: list[Utterance], texts: list[str]) -> None:
        self.utterances = utterances
        self.texts = texts

    def __getitem__(self, index: list[int]) -> TranscribedSpeech:
        speech, texts = [_whole(self.utterances[i]) for i in index], [self.texts[i] for i in index]
        length = torch.tensor([len(one) for one in speech])
        return TranscribedSpeech(pad_sequence(speech, batch_first=True), length, texts, torch.tensor(index))


class LibriSpeechTranscripts(_Recordings):
    """Read English with its transcripts, from ten minutes to a hundred hours: to fine-tune a recognizer and score it.

    Args:
        train: "100h" is train-clean-100; "10h", "1h" and "10min" are the limited sets of Libri-light.
        batch_size: utterances in one global batch. The authors fill batches to so many samples instead.
        seed: as in `Benchmark`.
        data_root: folder that holds LibriSpeech/dev-clean/<speaker>/<chapter>/*.flac and *.trans.txt and so on, and,
            for the limited sets, librispeech_finetuning/1h/0/clean/<speaker>/<chapter>/*.flac and so on.
        workers: processes that read recordings.
    """

    name = "librispeech_transcripts"
    primary = "word_accuracy/other"

    def __init__(
        self,
        train: Literal["100h", "10h", "1h", "10min"] = "100h",
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        workers: int = 6,
    ) -> None:
        super().__init__(train, LABELLED, workers, batch_size=batch_size, seed=seed, data_root=data_root)

    def _folder(self) -> Path:
        scored = [f"LibriSpeech/{part}" for parts in RECOGNIZED.values() for part in parts]
        return published_folder(
            self.data_root,
            title="LibriSpeech" + ("" if self.train == "100h" else " and the limited sets of Libri-light"),
            files=[*LABELLED[self.train], *scored],
            where="https://www.openslr.org/12 and https://github.com/facebookresearch/libri-light",
            terms="CC BY 4.0",
        )

    def build(self) -> None:
        folder = self._folder()
        self.utterances = [one for part in LABELLED[self.train] for one in _listed(folder / part)]
        self.texts = _transcripts(self.utterances)

    def _rows(self, order: SimilarLengthSampler) -> Dataset:
        return _Transcribed(self.utterances, self.texts)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`word_error_rate/clean` and `/other`, and `word_accuracy` of each, which is 1 less that.

        Raises:
            UserError: the module does not offer `transcribe_speech`, or there is no such split.
        """
        self.check_request(module, split, TranscribesSpeech)
        metrics = {}
        for part in RECOGNIZED[split]:
            utterances = _listed(self._folder() / "LibriSpeech" / part)
            with evaluating(module):
                # One at a time: no padding, and the longest take 35 s.
                found = [text for one in utterances for text in module.transcribe_speech([_whole(one)])]
            rate = float(word_error_rate(found, _transcripts(utterances)))
            kind = part.rpartition("-")[2]
            metrics |= {f"word_error_rate/{kind}": rate, f"word_accuracy/{kind}": 1 - rate}
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Silence."""
        rates = {f"word_error_rate/{kind}": 1.0 for kind in ("clean", "other")}
        return {"no word": rates | {f"word_accuracy/{kind}": 0.0 for kind in ("clean", "other")}}

    def fingerprint(self) -> str:
        """Of the names, the lengths and the transcripts."""
        self.setup()
        listed = [(one.path.name, one.samples) for one in self.utterances]
        return digest((listed, self.texts))


def _read_part(folder: Path, part: str) -> list[Utterance]:
    return _listed(folder / "LibriSpeech" / part)


def _listed(folder: Path) -> list[Utterance]:
    """All utterances below a folder; those of a speaker lie in <speaker>/<chapter>."""
    return [Utterance(path, soundfile.info(path).frames, path.parts[-3]) for path in sorted(folder.rglob("*.flac"))]


def _transcripts(utterances: list[Utterance]) -> list[str]:
    """What the utterances say, by the *.trans.txt beside them.

    Raises:
        UserError: one of them has no transcript.
    """
    texts: dict[str, str] = {}
    for folder in dict.fromkeys(one.path.parent for one in utterances):
        for path in folder.glob("*.trans.txt"):
            texts |= {key: text for key, _, text in (line.partition(" ") for line in read_lines(path))}
    for one in utterances:
        if one.path.stem not in texts:
            raise UserError(f"{one.path} has no line in a .trans.txt beside it, as the published files do")
    return [texts[one.path.stem] for one in utterances]


def _whole(one: Utterance) -> Tensor:
    """An utterance of mean 0 and variance 1, float32 of shape (samples,)."""
    waveform = _read(one.path, 0, one.samples)
    return F.layer_norm(waveform, waveform.shape)


def _read(path: Path, start: int, samples: int) -> Tensor:
    """Part of a recording, float32 of shape (samples,) or shorter where it ends."""
    waveform, rate = soundfile.read(path, frames=samples, start=start, dtype="float32", always_2d=True)
    if rate != RATE:
        raise UserError(f"{path} has {rate} samples a second; it must have {RATE}, as the published files do")
    return torch.from_numpy(waveform[:, 0])
