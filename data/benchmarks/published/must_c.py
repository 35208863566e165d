"""MuST-C v1: talks in English with transcripts and translations, for the full recipe of speech translation."""

from pathlib import Path
from typing import NamedTuple

import sacrebleu
import soundfile
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.audio import RATE
from common.batches import SpeechTranslations
from common.benchmark import Benchmark, Metrics, digest
from common.encoders.sequence import Sequences
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.lines import read_lines
from common.protocols import TranslatesSpeech
from common.sampling.batches import ResumableLoader
from common.sampling.lengths import SimilarLengthSampler
from data.published import beside, published_folder

TARGETS = ("de", "es", "fr", "it", "nl", "pt", "ro", "ru")
SPLITS = {"train": "train", "val": "dev", "test": "tst-COMMON"}
LONGEST, SHORTEST = 480_000, 1_000
"""Samples of an utterance to train on: 30 s, as the authors' preparation has it, and what a convolution needs."""


class Segment(NamedTuple):
    """Where an utterance stands in a recording, and its texts."""

    wav: str
    """Path of the recording below the folder of the language pair."""
    start: int
    """Samples from the beginning of the recording."""
    samples: int
    transcript: str
    translation: str


class _Batches(Dataset):
    """Reads a whole list of utterances at once."""

    def __init__(self, folder: Path, segments: list[Segment], target: str) -> None:
        self.folder = folder
        self.segments = segments
        self.target = target

    def __getitem__(self, index: list[int]) -> SpeechTranslations:
        chosen = [self.segments[i] for i in index]
        padded = Sequences.padded([read_segment(self.folder, one) for one in chosen])
        length = torch.tensor([one.samples for one in chosen])
        texts = [one.transcript for one in chosen], [one.translation for one in chosen]
        languages = ["en"] * len(chosen), [self.target] * len(chosen)
        return SpeechTranslations(padded.values, length, *texts, *languages, torch.tensor(index))


class MustC(Benchmark):
    """English talks with translations into one language: 229,703 utterances to train on for German.

    Args:
        target: language of the translations.
        batch_size: utterances in one global batch. The authors fill batches to so many samples instead.
        seed: as in `Benchmark`.
        data_root: folder that holds en-de/data/{train,dev,tst-COMMON}/{wav,txt}, as in the published archive.
        workers: processes that read recordings.
    """

    name = "must_c"
    primary = "bleu/tst-COMMON"
    published = True

    def __init__(
        self, target: str = "de", batch_size: int = 32, seed: int = 0, data_root: str | None = None, workers: int = 4
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if target not in TARGETS:
            raise UserError(f"data.target is {target!r}; it must be one of {', '.join(TARGETS)}")
        self.target = target
        self.workers = workers
        self.segments: dict[str, list[Segment]] = {}

    def _folder(self) -> Path:
        pair = f"en-{self.target}"
        texts = [f"{pair}/data/{split}/txt/{split}.{kind}" for split in SPLITS.values()
                 for kind in ("yaml", "en", self.target)]  # fmt: skip
        folder = published_folder(
            self.data_root,
            title=f"MuST-C v1 {pair}",
            files=[*texts, *(f"{pair}/data/{split}/wav" for split in SPLITS.values())],
            where="https://ict.fbk.eu/must-c/",
            terms="CC BY-NC-ND 4.0",
        )
        return folder / pair / "data"

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        self.segments = {split: _read_split(self._folder(), name, self.target) for split, name in SPLITS.items()}
        self.segments["train"] = [one for one in self.segments["train"] if SHORTEST <= one.samples <= LONGEST]

    def training_texts(self) -> tuple[list[str], list[str]]:
        """Transcripts and translations of what is trained on."""
        self.setup()
        return [one.transcript for one in self.segments["train"]], [one.translation for one in self.segments["train"]]

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        train = self.segments["train"]
        sampler = SimilarLengthSampler(torch.tensor([one.samples for one in train]), self.batch_size, self.seed, 100)
        data = _Batches(self._folder(), train, self.target)
        return ResumableLoader(data, sampler=sampler, batch_size=None, num_workers=self.workers)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`bleu/dev` or `bleu/tst-COMMON`: case-sensitive, detokenized, by sacreBLEU's defaults.

        Raises:
            UserError: the module does not offer `translate_speech`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, TranslatesSpeech)
        segments, folder = self.segments[split], self._folder()
        order = sorted(range(len(segments)), key=lambda i: segments[i].samples)
        said = [""] * len(segments)
        with evaluating(module):
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                clips = [read_segment(folder, segments[i]) for i in rows]
                for i, text in zip(rows, module.translate_speech(clips, self.target), strict=True):
                    said[i] = text
        gold = [one.translation for one in segments]
        return {f"bleu/{SPLITS[split]}": sacrebleu.corpus_bleu(said, [gold]).score}

    def floor(self) -> dict[str, Metrics]:
        """Saying nothing."""
        return {"nothing": {self.primary: 0.0}}

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(segments) for split, segments in self.segments.items()}

    def fingerprint(self) -> str:
        """Of the texts and of where they are spoken; the recordings are too large to be read for it."""
        self.setup()
        return digest(self.segments)


def read_segment(folder: Path, segment: Segment) -> Tensor:
    """The waveform of an utterance, float32 of shape (samples,), in [-1, 1].

    Raises:
        UserError: the recording has another rate.
    """
    path = folder / segment.wav
    samples, rate = soundfile.read(path, frames=segment.samples, start=segment.start, dtype="float32", always_2d=True)
    if rate != RATE:
        raise UserError(f"{path} has {rate} samples a second; it must have {RATE}, as MuST-C v1 does")
    return torch.from_numpy(samples[:, 0])


def _read_split(folder: Path, split: str, target: str) -> list[Segment]:
    """The utterances of a split that have both texts."""
    texts = folder / split / "txt"
    # The C loader: the training split has a quarter of a million entries.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    listed, *files = (texts / f"{split}.{kind}" for kind in ("yaml", "en", target))
    with listed.open(encoding="utf-8") as file:
        places = yaml.load(file, loader)
    lines = [list(read_lines(path)) for path in files]
    for path, told in zip(files, lines, strict=True):
        beside(places, told, listed, path)
    return [
        Segment(
            f"{split}/wav/{place['wav']}",
            round(place["offset"] * RATE),
            round(place["duration"] * RATE),
            said.strip(),
            meant.strip(),
        )
        for place, said, meant in zip(places, *lines, strict=True)
        if said.strip() and meant.strip()
    ]
