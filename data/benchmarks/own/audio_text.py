"""Recordings with transcripts: the user's own, from any table, or a folder with metadata."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.audio import SpeechAugmentation, WaveformAugmentation, log_mel
from common.batches import SpeechTranslations, SpeechViews, TranscribedSpeech
from common.benchmark import Metrics
from common.embedding.columns import Column
from common.errors import UserError
from common.evaluation.classes import standardized
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.image_text import paired_chance, paired_retrieval
from common.evaluation.means import Mean
from common.evaluation.retrieval import listed, retrieval_metrics
from common.protocols import EmbedsSpeech, EmbedsText, TranscribesSpeech, TranslatesSpeech
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.lengths import SimilarLengthSampler
from common.table import Rows
from data.benchmarks.bases.floors import BagOfWords
from data.benchmarks.bases.own_data import Lazy, OwnData, Part, different, text_fault, texts_at, texts_in
from data.readers import Source
from data.sounds import SoundReader, padded

View = Literal["clean", "augmented"]
SOUNDS = {"frames": "log_mel", "log_mel": "log_mel", "waveform": "waveform", "wav2vec2": "waveform"}
"""What methods call what they hear, and what it is here."""
AT_ONCE = 32
"""Recordings that a module embeds in one call."""
SHORTEST = 0.2
"""Seconds of a recording at least."""
FITTED = 2000
"""Training recordings that the probe for words is fitted on, at most."""
_START = 8


class AudioText(OwnData):
    """Own recordings with transcripts: a table with a column of each, WAV, FLAC or whatever else soundfile reads.

    What a method reads decides what it is given: views of excerpts without their transcripts, recordings with
    transcripts, or with translations too. What is embedded is scored by retrieval of transcripts, where the method
    embeds those, and by a ridge regression from recordings onto the words of their transcripts; what is recognized and
    translated, by its errors.

    Example, with `speech.csv` of the columns audio (paths from the folder of the file) and transcript::

        papers fit data2vec_aqc --data AudioText --data.path speech.csv
        papers test data2vec_aqc --ckpt_path last --data AudioText --data.path speech.csv

    Args:
        audio, transcript: columns of the recording (its path, or its bytes) and of what is said.
        translation: column of the transcript in another language; by default it is the transcript.
        source, target: codes of the languages of speech and translation, such as "en".
        sound: "log_mel" frames, 50 a second, or the "waveform" at 16 kHz.
        normalized: waveforms have mean 0 and variance 1.
        longest: seconds of a recording at most.
        excerpt: seconds of a view at most; the views of a batch are as long as its shortest recording.
        views: of each excerpt; "augmented" adds noise and reverberation.
        noise, reverb: probabilities of these, see `SpeechAugmentation`.
        train: "auto" gives what the method reads, the others "views", "transcripts" or "translations" whatever it
            reads.
        others: as in `OwnData`.
    """

    name = "audio_text"
    media = "audio"

    def __init__(
        self,
        *,
        audio: str = "audio",
        transcript: str = "transcript",
        translation: str | None = None,
        source: str = "en",
        target: str = "en",
        sound: Literal["log_mel", "waveform"] = "log_mel",
        normalized: bool = True,
        longest: float = 35.0,
        excerpt: float = 20.0,
        views: list[View] | None = None,
        noise: float = 0.6,
        reverb: float = 0.7,
        train: Literal["auto", "views", "transcripts", "translations"] = "auto",
        **others,
    ) -> None:
        super().__init__(**others)
        if sound not in ("log_mel", "waveform"):
            raise UserError(f"data.sound is {sound!r}; it must be 'log_mel' or 'waveform'")
        if train not in ("auto", "views", "transcripts", "translations"):
            raise UserError(f"data.train is {train!r}; it must be 'auto', 'views', 'transcripts' or 'translations'")
        for name, seconds in (("longest", longest), ("excerpt", excerpt)):
            if not seconds >= SHORTEST:
                raise UserError(f"data.{name} is {seconds}; it must be at least {SHORTEST} s")
        self.views = list(views or ["clean", "augmented"])
        if unknown := set(self.views) - set(get_args(View)):
            raise UserError(f"data.views holds {min(unknown)!r}; it may hold 'clean' and 'augmented'")
        self.audio, self.transcript, self.translation = audio, transcript, translation
        self.source, self.target, self.sound, self.normalized = source, target, sound, normalized
        self.longest, self.excerpt, self.train = longest, excerpt, train
        kind = SpeechAugmentation if sound == "log_mel" else WaveformAugmentation
        self.augmentation = kind(noise, reverb, 0.0)
        self._seconds: dict[str, list[float]] = {}

    def columns(self) -> dict[str, str]:
        found = {"audio": self.audio, "transcript": self.transcript}
        return found if self.translation is None else found | {"translation": self.translation}

    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        texts = (column for name, column in self.columns().items() if name != "audio")
        return next((fault for column in texts if (fault := text_fault(column, row[column]))), None)

    def faults(self, source: Source, start: int, batch: Mapping[str, list[Any]]) -> list[str | None]:
        found = self.reader(source).lengths(batch[self.audio], start, self.check == "headers")
        if start == 0:
            self._seconds[source.name] = []
        self._seconds[source.name] += [one.seconds for one in found]
        faults = []
        for text, (fault, seconds) in zip(super().faults(source, start, batch), found, strict=True):
            if text is None and fault is None and seconds < SHORTEST:
                fault = f"the recording is {seconds:.3f} s long; it must be at least {SHORTEST}"
            if text is None and fault is None and seconds > self.longest:
                fault = f"the recording is {seconds:.1f} s long; data.longest is {self.longest}"
            faults.append(text or fault)
        return faults

    def keys(self, source: Source, at: Tensor) -> Iterator[Path | bytes]:
        return self.media_keys(source, at, self.audio)

    def reader(self, source: Source) -> SoundReader:
        return SoundReader(source, self.audio, self.root(), self.sound == "log_mel", self.normalized)

    def build(self) -> None:
        super().build()
        count = len(self.gallery("test")[0])
        self.primary = f"probe_words/mrr/gallery{count}"  # type: ignore[misc]
        self.check_differ(self.transcript, count)

    def seconds(self, part: Part) -> Tensor:
        """How long each recording of a split is, float64 (n,)."""
        return torch.tensor(self._seconds[part.source.name], dtype=torch.float64)[part.at]

    def training_texts(self) -> tuple[list[str], list[str]]:
        """Transcripts and translations of what is trained on."""
        part = self.part("train")
        columns = self.transcript, self.translation or self.transcript
        return tuple(list(texts_in(part.source, part.at, column)) for column in columns)

    def train_dataloader(self) -> ResumableLoader:
        part = self.part("train")
        self.check_sound()
        names = {"views": SpeechViews, "transcripts": TranscribedSpeech, "translations": SpeechTranslations}
        kind = names.get(self.train) or self.batch_kind(*names.values())
        reader = self.reader(part.source)
        if len(part.at) < self.batch_size:
            self.loader(len(part.at), reader)  # says so
        # Milliseconds, so that a window is sorted finely.
        order = SimilarLengthSampler((1000 * self.seconds(part)).long(), self.batch_size, self.seed)
        if kind is SpeechViews:
            per_second = 50 if self.sound == "log_mel" else 16_000
            make = _Views(reader, part, tuple(self.views), self.augmentation, int(self.excerpt * per_second))
            return self.loader(len(part.at), make, order)
        columns = self.transcript, None if kind is TranscribedSpeech else self.translation or self.transcript
        return self.loader(len(part.at), _Transcribed(reader, part, *columns, self.source, self.target), order)

    def check_sound(self) -> None:
        """Whether the method hears what there is, where it says what it hears.

        Raises:
            UserError: it is given frames and wants the waveform, or the other way round.
        """
        taken = {} if self.trainer is None else self.trainer.lightning_module.hparams
        for name in ("features", "acoustic"):
            wanted = SOUNDS.get(str(taken.get(name)))
            if wanted not in (None, self.sound):
                raise UserError(
                    f"data.sound is {self.sound!r}; with model.{name} {taken[name]!r} it must be {wanted!r}"
                )

    def gallery(self, split: str) -> tuple[list[str], Tensor]:
        """The different transcripts of a split, and (recording, transcript) that fit, int64 (n, 2)."""
        part = self.splits[split]
        places, numbers = different(texts_in(part.source, part.at, self.transcript))
        return texts_at(part, places, self.transcript), torch.stack([torch.arange(len(numbers)), numbers], dim=1)

    def clips(self, split: str, at: Tensor | None = None) -> Lazy:
        """The recordings of a split, or those at some positions of it; a slice of them is a list."""
        part = self.part(split)
        at = torch.arange(len(part.at)) if at is None else at
        reader = self.reader(part.source)
        return Lazy(len(at), lambda index: reader(part.at[at[index]].tolist()))

    def _said(self, split: str, function: Any) -> list[str]:
        """What a function makes of each recording of a split, of similar lengths at a time."""
        order = self.seconds(self.splits[split]).argsort(stable=True)
        clips, said = self.clips(split, order), [""] * len(order)
        for start in range(0, len(order), AT_ONCE):
            texts = function(clips[start : start + AT_ONCE])
            for place, text in zip(order[start : start + AT_ONCE].tolist(), texts, strict=True):
                said[place] = text
        return said

    def _embedded(self, module: nn.Module, embed: Any, split: str, most: int | None = None) -> Tensor:
        """A row for each recording of a split, or for the first so many."""
        order = self.seconds(self.splits[split])[:most].argsort(stable=True)
        rows = embed_dataset(embed, self.clips(split, order), AT_ONCE, module).cpu()
        return torch.empty_like(rows).index_copy_(0, order, rows)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """What the module embeds, recognizes and translates.

        Returns:
            With `embed_speech` `probe_words/mrr/galleryN` and the like of `retrieval_metrics`: words are predicted by a
            ridge regression fitted on training recordings, and the N different transcripts ranked by the cosine of
            their words with them. With `embed_text` too, `speech_to_transcript/...` and `transcript_to_speech/...`.
            With `transcribe_speech`, `wer/transcript` and `word_accuracy/transcript`, which is 1 less that.
            With `translate_speech`, `bleu/translation` and `chrf/translation`.

        Raises:
            UserError: the module does none of it, or there is no such split.
        """
        self.setup()
        kinds = [kind for kind in (EmbedsSpeech, TranscribesSpeech, TranslatesSpeech) if isinstance(module, kind)]
        self.check_request(module, split, *(kinds or [EmbedsSpeech]))
        part, metrics = self.splits[split], {}
        if isinstance(module, EmbedsSpeech):
            metrics |= self._retrieval(module, split)
        with evaluating(module):
            if isinstance(module, TranscribesSpeech):
                from torchmetrics.functional.text import word_error_rate  # slow to import

                wanted = [capitals(text) for text in texts_in(part.source, part.at, self.transcript)]
                rate = float(word_error_rate(self._said(split, module.transcribe_speech), wanted))
                metrics |= {"wer/transcript": rate, "word_accuracy/transcript": 1 - rate}
            if isinstance(module, TranslatesSpeech):
                import sacrebleu

                said = self._said(split, lambda clips: module.translate_speech(clips, self.target))
                wanted = list(texts_in(part.source, part.at, self.translation or self.transcript))
                metrics["bleu/translation"] = sacrebleu.corpus_bleu(said, [wanted]).score
                pairs = zip(said, wanted, strict=True)
                metrics["chrf/translation"] = Mean([sacrebleu.sentence_chrf(s, [t]).score for s, t in pairs])
        return metrics

    def _retrieval(self, module: EmbedsSpeech, split: str) -> Metrics:
        texts, pairs = self.gallery(split)
        rows = self._embedded(module, module.embed_speech, split)
        train = self.part("train")
        known = list(texts_in(train.source, train.at[:FITTED], self.transcript))
        words = BagOfWords(known, 1000)
        fitted = self._embedded(module, module.embed_speech, "train", FITTED)
        predicted = ridge(fitted, words.embed_text(known), rows)
        wanted = words.embed_text(texts)
        found = retrieval_metrics(F.normalize(predicted, dim=1), wanted, listed(pairs))
        metrics: Metrics = {f"probe_words/{name}": value for name, value in found.items()}
        if isinstance(module, EmbedsText):
            text = F.normalize(embed_dataset(module.embed_text, texts, 256, module), dim=1).cpu()
            metrics |= _renamed(paired_retrieval(F.normalize(rows, dim=1), text, pairs))
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the mean and deviation of each band of the frames."""
        self.setup()
        chance = _renamed(paired_chance(self.gallery("test")[1]))
        first = "speech_to_transcript"
        chance |= {name.replace(first, "probe_words"): x for name, x in chance.items() if name.startswith(first)}
        return {"chance": chance, "mean and deviation": self.evaluate(Bands())}

    def embedded_columns(self, split: str) -> list[Column]:
        part = self.splits[split]
        names = self.names(part)
        return [Column("speech", self.clips(split), names), Column("text", self.texts(part, self.transcript), names)]

    def example(self) -> str:
        part = self.part("train")
        at = torch.arange(min(12, len(part.at)))
        rows = zip(self.seconds(part)[at].tolist(), texts_at(part, at, self.transcript), strict=True)
        return "\n".join(f"{seconds:4.1f} s  {text}" for seconds, text in rows)

    def settings(self) -> tuple[object, ...]:
        return *super().settings(), self.sound, self.normalized


class Bands(nn.Module):
    """Embeds a recording as the mean and the standard deviation of each band of its frames."""

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        frames = [clip if clip.ndim == 2 else log_mel(clip) for clip in clips]
        return torch.stack([torch.cat([one.mean(0), one.std(0, correction=0)]) for one in frames])


def ridge(train: Tensor, targets: Tensor, test: Tensor, penalty: float = 5.0) -> Tensor:
    """What a ridge regression from standardized rows (n, d) onto targets (n, e) predicts for test rows, (m, e)."""
    rows, queries = standardized(train.double(), test.double())
    base = targets.double().mean(dim=0)
    inner = rows.T @ rows + penalty * torch.eye(rows.shape[1], dtype=rows.dtype)
    return (queries @ torch.linalg.solve(inner, rows.T @ (targets.double() - base)) + base).float()


def capitals(text: str) -> str:
    """The text in capitals of the Latin alphabet and apostrophes, as recognizers of letters read it."""
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'")).upper()
    return " ".join(re.sub(r"[^A-Z' ]", " ", re.sub(r"[\u0300-\u036f]", "", plain)).split())


def _renamed(metrics: Metrics) -> Metrics:
    """The measures of pictures and texts, where pictures stand for recordings."""
    return {
        name.replace("image", "speech").replace("text", "transcript"): value
        for name, value in metrics.items()
        if "_to_" in name
    }


class _Views(NamedTuple):
    """Makes batches of views of excerpts."""

    reader: SoundReader
    part: Part
    views: tuple[str, ...]
    augmentation: Any
    longest: int

    def __call__(self, rows: Rows, seed: int, epoch: int) -> SpeechViews:
        clips, ids = self.reader(self.part.at[rows.index].tolist()), self.part.ids[rows.index]
        size = min(self.longest, *map(len, clips))
        spare = torch.tensor([len(clip) - size for clip in clips])
        offset = (uniform(ids, 1, seed, epoch, _START).flatten() * (spare + 1)).long().tolist()
        clean = torch.stack([clip[start : start + size] for clip, start in zip(clips, offset, strict=True)])
        views = []
        for number, kind in enumerate(self.views):
            arguments = (torch.ones(clean.shape[:2], dtype=torch.bool),) if clean.ndim == 3 else ()
            augmented = kind == "augmented"
            key = ids, seed, epoch, number
            views.append(self.augmentation(clean, *arguments, clean, *key) if augmented else clean)
        return SpeechViews(torch.stack(views), ids)


class _Transcribed(NamedTuple):
    """Makes batches of recordings with transcripts, and with translations where there is a column of them."""

    reader: SoundReader
    part: Part
    transcript: str
    translation: str | None
    source: str
    target: str

    def __call__(self, rows: Rows, seed: int, epoch: int) -> TranscribedSpeech | SpeechTranslations:
        speech, length = padded(self.reader(self.part.at[rows.index].tolist()))
        texts, ids = texts_at(self.part, rows.index, self.transcript), self.part.ids[rows.index]
        if self.translation is None:
            return TranscribedSpeech(speech, length, [capitals(text) for text in texts], ids)
        translations = texts_at(self.part, rows.index, self.translation)
        return SpeechTranslations(
            speech, length, texts, translations, [self.source] * len(texts), [self.target] * len(texts), ids
        )
