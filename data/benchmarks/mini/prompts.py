"""Telephone prompts: speech in one language, text in that and in another, with very little of either."""

import itertools
import math
import re
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.audio import BANDS, FRAMES, from_power
from common.batches import SpeechTranslations
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.image_text import chance_retrieval
from common.evaluation.means import Mean
from common.evaluation.retrieval import both_directions
from common.protocols import EmbedsSpeech, EmbedsText, TranslatesSpeech
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.lengths import SimilarLengthSampler
from common.table import Rows, Table
from data.benchmarks.bases.duplicates import alike, first_of_each
from data.benchmarks.bases.recordings import SOURCES, VERSION, Recordings, read_recordings
from data.benchmarks.bases.speech_probes import bucket
from data.benchmarks.mini.spoken import embedded
from data.sources.asterisk_sounds import LANGUAGES

JOINED = {"val": 150, "test": 300}
"""Utterances of two to four prompts that are scored."""
LONGEST = 6 * FRAMES
"""Frames of an utterance; prompts that are longer by themselves are left out."""
PAUSE = 6
"""Silent frames between two prompts."""
TEMPO = 0.15
"""How much faster or slower a prompt is played at most."""
WORDS = 3
"""Words from which on a prompt may be held out: single words cannot be guessed."""
JOINED_VERSION = 1
"""Of what joins prompts and plays them."""


class Prompt(NamedTuple):
    """A prompt that is spoken in one language and written in two."""

    recording: int
    """Position of the recording."""
    transcript: str
    translation: str
    group: int
    """Prompts that say the same in any language have one number."""


class Utterances(NamedTuple):
    """Utterances as they are scored or learnt from."""

    speech: Recordings
    transcripts: list[str]
    translations: list[str]


class Prompts(Benchmark):
    """Telephone prompts of Asterisk: 400 utterances to learn a translation from, 20 minutes of one voice.

    An utterance is what a telephone exchange says: one to four prompts of the same voice, one after the other. Each
    time that a prompt is played its tempo is drawn from 0.85 to 1.15. Two kinds are scored. "Joined" are new sequences
    of prompts that nearly all occur in training: to be translated, they must be told apart. "Unseen" are prompts of
    three words and more that do not occur there: to be translated, words must have been learnt. Text is lower-case,
    without punctuation.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        source, target: languages of the speech and of the translation, two of en, es, fr, it, ru.
        utterances: how many there are to train on; the same ones for every seed.
        inventory: how many different prompts they, and the joined ones to score, are made of.
    """

    name = "prompts"
    primary = f"bleu/joined{JOINED['test']}"
    sources = SOURCES

    def __init__(
        self,
        batch_size: int = 32,
        seed: int = 0,
        data_root: str | None = None,
        source: str = "en",
        target: str = "fr",
        utterances: int = 400,
        inventory: int = 150,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        for name, language in (("source", source), ("target", target)):
            if language not in LANGUAGES:
                raise UserError(f"data.{name} is {language!r}; it must be one of {', '.join(LANGUAGES)}")
        if source == target:
            raise UserError(f"data.target is {target!r}; it must be another language than data.source")
        if utterances < batch_size:
            raise UserError(f"data.utterances is {utterances}; it must be at least data.batch_size, {batch_size}")
        if inventory < 20:
            raise UserError(f"data.inventory is {inventory}; it must be at least 20")
        self.source, self.target = source, target
        self.utterances, self.inventory = utterances, inventory
        self.splits: dict[str, Utterances] = {}

    def build(self) -> None:
        recordings = read_recordings(self.data_root)
        prompts = read_prompts(recordings, self.source, self.target)
        held_out = {split: [] for split in ("train", "val", "test")}
        for prompt in prompts:
            drawn = bucket(str(prompt.group), 10)
            long = len(prompt.transcript.split()) >= WORDS
            held_out["test" if long and drawn < 2 else "val" if long and drawn < 3 else "train"].append(prompt)
        order = (
            uniform(torch.tensor([prompt.group for prompt in held_out["train"]]), 1, 0).flatten().argsort(stable=True)
        )
        heard = [held_out["train"][i] for i in order[: self.inventory].tolist()]
        known: set[tuple[int, ...]] = set()
        # Those to score come first: they are the same for every number of utterances to train on.
        for number, (split, count) in enumerate([("test", JOINED["test"]), ("val", JOINED["val"]), ("train", None)]):
            fewest = 1 if count is None else 2
            rows = _sequences(recordings, heard, count or self.utterances, fewest, number, known)
            self.splits[split] = _spoken(recordings, heard, rows, number)
        for number, split in enumerate(("val", "test"), start=3):
            rows = [[i] for i in first_of_each(np.array([prompt.group for prompt in held_out[split]]))]
            self.splits[f"{split}_unseen"] = _spoken(recordings, held_out[split], rows, number)

    def training_texts(self) -> tuple[list[str], list[str]]:
        """Transcripts and translations of what is trained on."""
        self.setup()
        return self.splits["train"][1:]

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        train = self.splits["train"]
        rows = torch.arange(len(train.transcripts))
        order = SimilarLengthSampler(train.speech.lengths(rows), self.batch_size, self.seed)
        return Table(Rows(rows), self._batch).loader_over(order)

    def _batch(self, rows: Rows, seed: int, epoch: int) -> SpeechTranslations:
        train, index = self.splits["train"], rows.index
        frames, length = train.speech.padded(index)
        transcripts, translations = ([texts[i] for i in index.tolist()] for texts in train[1:])
        languages = ([self.source] * len(index), [self.target] * len(index))
        return SpeechTranslations(frames, length, transcripts, translations, *languages, index)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Translation, and retrieval between speech and transcripts if the module embeds both.

        Returns:
            `bleu/joinedN`, `bleu/unseenN`, and the same with `chrf`: of the corpus, by sacreBLEU's defaults; and with
            `sentence_chrf`, the mean over the utterances. With `embed_speech` and `embed_text`, the metrics of
            `retrieval_metrics`, as in `speech_to_transcript/recall@k/joinedN`, and their reverse, and for `unseenN`.

        Raises:
            UserError: the module does not offer `translate_speech`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, TranslatesSpeech)
        metrics = {}
        for kind, part in (("joined", self.splits[split]), ("unseen", self.splits[f"{split}_unseen"])):
            clips = [part.speech.clip(i) for i in range(len(part.transcripts))]
            protocol = f"{kind}{len(clips)}"
            with evaluating(module):
                said = module.translate_speech(clips, self.target)
            metrics[f"bleu/{protocol}"] = sacrebleu.corpus_bleu(said, [part.translations]).score
            metrics[f"chrf/{protocol}"] = sacrebleu.corpus_chrf(said, [part.translations]).score
            pairs = zip(said, part.translations, strict=True)
            metrics[f"sentence_chrf/{protocol}"] = Mean([sacrebleu.sentence_chrf(s, [t]).score for s, t in pairs])
            if isinstance(module, EmbedsText) and isinstance(module, EmbedsSpeech):
                speech = F.normalize(embedded(module, clips), dim=1)
                text = F.normalize(embed_dataset(module.embed_text, part.transcripts, 256, module).cpu(), dim=1)
                found = both_directions(speech, text, names=("speech", "transcript"))
                metrics |= _of_protocol(found, protocol)
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """The translation of the training utterance that sounds most alike, the commonest prompt, and chance."""
        self.setup()
        train = self.splits["train"]
        nearest, commonest = Nearest(train), Commonest(train)
        chance = {}
        for kind, part in (("joined", self.splits["test"]), ("unseen", self.splits["test_unseen"])):
            ids = torch.arange(len(part.transcripts))
            found = {key.replace("image", "speech").replace("text", "transcript"): value
                     for key, value in chance_retrieval(ids, ids).items() if "_to_" in key}  # fmt: skip
            chance |= _of_protocol(found, f"{kind}{len(ids)}")
        return {
            "most alike in training": self.evaluate(nearest),
            "commonest prompt": self.evaluate(commonest),
            "chance": chance,
        }

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(part.transcripts) for split, part in self.splits.items()}

    def example(self) -> str:
        self.setup()
        lines = []
        for split in ("train", "test", "test_unseen"):
            part = self.splits[split]
            seconds = part.speech.lengths(torch.arange(4)) / FRAMES
            rows = zip(seconds.tolist(), part.transcripts, part.translations, strict=False)
            lines += [f"{split:12} {time:.1f} s  {text} | {translation}" for time, text, translation in rows]
        return "\n".join(lines)

    def fingerprint(self) -> str:
        """Of what is said; how it sounds is computed."""
        self.setup()
        parts = self.splits.values()
        origin = self.origin(VERSION, *(tensor for part in parts for tensor in part.speech[:2]))
        return digest(
            (origin, JOINED_VERSION), [(part.transcripts, part.translations, part.speech.known) for part in parts]
        )


def words_of(text: str) -> str:
    """The text in lower case without punctuation; apostrophes stay."""
    return " ".join(re.findall(r"[\w']+", text.lower().replace("\u2019", "'")))


def read_prompts(recordings: Recordings, source: str, target: str) -> list[Prompt]:
    """The prompts that are spoken in `source` and written in both languages, and that are short enough."""
    by_key: dict[str, dict[str, tuple[int, str]]] = {}
    for i, known in enumerate(recordings.known):
        if known.source == "prompt":
            by_key.setdefault(known.key, {})[known.language] = (i, words_of(known.text))
    groups = alike([{(code, text) for code, (_, text) in said.items()} for said in by_key.values()], 1e-6)
    found = []
    for group, said in zip(groups.tolist(), by_key.values(), strict=True):
        if source in said and target in said:
            (recording, transcript), (_, translation) = said[source], said[target]
            if slowest(int(recordings.lengths(torch.tensor(recording)))) <= LONGEST:
                found.append(Prompt(recording, transcript, translation, group))
    return found


def slowest(frames: int) -> int:
    """Frames of a prompt at the slowest tempo, with the pause before it."""
    return PAUSE + math.ceil(frames / (1 - TEMPO))


def _sequences(
    recordings: Recordings, prompts: list[Prompt], count: int, fewest: int, key: int, known: set[tuple[int, ...]]
) -> list[list[int]]:
    """Positions of the prompts of each utterance, none of which is in `known`; adds them to it."""
    lengths = recordings.lengths(torch.tensor([prompt.recording for prompt in prompts])).tolist()
    # All prompts in a random order, then all in another, so that hardly any is left out.
    turns = (
        uniform(torch.arange(len(prompts)), 1, key, turn).flatten().argsort(stable=True).tolist()
        for turn in itertools.count()
    )
    stream = itertools.chain.from_iterable(turns)
    found: list[list[int]] = []
    row = next(stream)
    for number in range(100 * count):
        wanted = fewest + int(uniform(torch.tensor([number]), 1, key) * (5 - fewest))
        rows: list[int] = []
        frames = 0
        while len(rows) < wanted and (frames := frames + slowest(lengths[row])) <= LONGEST:
            rows.append(row)
            row = next(stream)
        said = tuple(prompts[row].group for row in rows)
        if len(rows) >= fewest and said not in known:
            known.add(said)
            found.append(rows)
        if len(found) == count:
            return found
    raise UserError(f"data.utterances is {count}; there are not that many different sequences of prompts")


def _spoken(recordings: Recordings, prompts: list[Prompt], rows: list[list[int]], key: int) -> Utterances:
    """Utterances out of prompts, each part at a tempo of its own."""
    silence = from_power(torch.zeros(PAUSE, BANDS))
    frames = []
    for number, parts in enumerate(rows):
        tempos = 1 + TEMPO * (2 * uniform(torch.tensor([number]), len(parts), key, 7)[0] - 1)
        pieces = []
        for row, tempo in zip(parts, tempos.tolist(), strict=True):
            clip = recordings.clip(prompts[row].recording)
            size = max(1, round(len(clip) / tempo))
            pieces += [silence, F.interpolate(clip.T[None], size=size, mode="linear")[0].T]
        frames.append(torch.cat(pieces[1:]).half())
    starts = torch.tensor([0, *(len(one) for one in frames)]).cumsum(0)
    known = [recordings.known[prompts[parts[0]].recording] for parts in rows]
    texts = [[" ".join(getattr(prompts[row], side) for row in parts) for parts in rows]
             for side in ("transcript", "translation")]  # fmt: skip
    return Utterances(Recordings(torch.cat(frames), starts, known), *texts)


def _of_protocol(metrics: Metrics, protocol: str) -> Metrics:
    """With the protocol in place of the gallery's size."""
    return {f"{key.rpartition('/')[0]}/{protocol}": value for key, value in metrics.items()}


class Nearest(nn.Module):
    """Translates as the training utterance is translated whose mean frame and deviation are nearest."""

    def __init__(self, train: Utterances) -> None:
        super().__init__()
        self.translations = train.translations
        self.rows = _statistics([train.speech.clip(i) for i in range(len(train.transcripts))])

    def translate_speech(self, clips: list[Tensor], language: str) -> list[str]:
        return [self.translations[i] for i in torch.cdist(_statistics(clips), self.rows).argmin(1).tolist()]


def _statistics(clips: list[Tensor]) -> Tensor:
    return torch.stack([torch.cat([clip.mean(0), clip.std(0)]) for clip in clips])


class Commonest(nn.Module):
    """Says always the same: the translation of the training utterances that is the commonest."""

    def __init__(self, train: Utterances) -> None:
        super().__init__()
        self.text = max(sorted(set(train.translations)), key=train.translations.count)

    def translate_speech(self, clips: list[Tensor], language: str) -> list[Any]:
        return [self.text] * len(clips)
