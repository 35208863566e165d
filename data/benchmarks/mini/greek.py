"""Word alignment: the Greek New Testament and an English translation, with links drawn by hand."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, product
from typing import Literal, NamedTuple

import torch
from torch import nn

from common.batches import ParallelWords
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.alignment import Links, alignment_metrics
from common.protocols import AlignsWords
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, take
from data.benchmarks.bases.bible import split_of
from data.cache import cached_tensors
from data.sources.bible_alignments import BIBLE_ALIGNMENTS, Token, read_english, read_greek, read_links


class Aligned(NamedTuple):
    """Verses with their links."""

    source: list[list[str]]
    target: list[list[str]]
    links: list[Links]
    numbers: list[int]
    """Of each verse, as in `data.benchmarks.bases.bible`."""


class Greek(Benchmark):
    """7,848 verses, Greek to English, split by books like `verses`: 6,394 train, 148 validation, 1,306 test.

    Words are lower-cased, English punctuation is left out (no link leads to it). Methods train on the words alone; the
    links of the train split are there for whoever wants to say how far supervision goes.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        greek: "lemmas" (5,468 different ones) or "words" as they stand (18,619), of which most are seen once.
        train_size: verses to train on, drawn by the seed from the 6,394; none means all.
    """

    name = "greek"
    primary = "one_minus_aer/verses"
    sources = (BIBLE_ALIGNMENTS,)

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        greek: Literal["lemmas", "words"] = "lemmas",
        train_size: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if greek not in ("lemmas", "words"):
            raise UserError(f"data.greek is {greek!r}; it must be 'lemmas' or 'words'")
        if train_size is not None and train_size < 1:
            raise UserError(f"data.train_size is {train_size}; it must be at least 1")
        self.greek, self.train_size = greek, train_size
        self.splits: dict[str, Aligned] = {}

    def build(self) -> None:
        splits = {split: Aligned([], [], [], []) for split in ("test", "val", "train")}
        verses = _verses(self.data_root)
        seen: set[str] = set()
        for split, kept in splits.items():
            for number, words, lemmas, english, links in verses:
                if split_of(number) != split:
                    continue
                # The same verse in two gospels stays in the split that is scored.
                text = {" ".join(words), " ".join(english)}
                if not text & seen:
                    greek = lemmas if self.greek == "lemmas" else words
                    for column, value in zip(kept, (greek, english, {*map(tuple, links)}, number), strict=True):
                        column.append(value)
                seen |= text
        self.splits = {split: splits[split] for split in ("train", "val", "test")}
        self.train = splits["train"]
        if self.train_size is not None:
            numbers = torch.tensor(self.train.numbers)
            if self.train_size > len(numbers):
                raise UserError(f"data.train_size is {self.train_size}; it must be from 1 to {len(numbers):,}")
            chosen = uniform(numbers, 1, self.seed, 11).flatten().argsort(stable=True)[: self.train_size]
            self.train = take(self.train, chosen.sort().values)

    def parallel(self) -> Iterator[tuple[list[str], list[str]]]:
        """The words of each training verse in both languages, in order."""
        self.setup()
        return zip(self.train.source, self.train.target, strict=True)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        words = ParallelWords(self.train.source, self.train.target, torch.tensor(self.train.numbers))
        return Table(words).loader(self.batch_size, self.seed)

    def sizes(self) -> dict[str, int]:
        sizes = super().sizes()
        return sizes | {"train": len(self.train.source)}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`one_minus_aer`, `aer`, `precision` and `recall` of the module's links, each with `/verses`.

        The hand-drawn links are all sure ones, so 1 - AER is the F1 of the links.

        Raises:
            UserError: the module does not offer `align_words`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, AlignsWords)
        verses = self.splits[split]
        predicted = module.align_words(verses.source, verses.target)
        return {f"{name}/verses": value for name, value in alignment_metrics(predicted, verses.links).items()}

    def floor(self) -> dict[str, Metrics]:
        """Each English word with the Greek word at the same relative place, and with the one it is oftenest seen with.

        The second is the greatest Dice coefficient, counted in the train split.
        """
        self.setup()
        return {"diagonal": self.evaluate(Diagonal()), "Dice": self.evaluate(Dice(self.splits["train"]))}

    def example(self) -> str:
        self.setup()
        verses = self.splits["train"]
        links = ", ".join(f"{verses.source[0][i]}-{verses.target[0][j]}" for i, j in sorted(verses.links[0]))
        return f"{' '.join(verses.source[0])}\n{' '.join(verses.target[0])}\n{links}"

    def fingerprint(self) -> str:
        self.setup()
        return digest(
            *(
                (verses.source, verses.target, [sorted(pairs) for pairs in verses.links], verses.numbers)
                for verses in self.splits.values()
            ),
            *(() if self.train_size is None else (self.train_size,)),
        )


class Diagonal(nn.Module):
    """Knows that translations keep the order, roughly."""

    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[Links]:
        return [
            {(at * len(left) // len(right), at) for at in range(len(right))}
            for left, right in zip(source, target, strict=True)
        ]


class Dice(nn.Module):
    """Links every target word to the source word with the greatest Dice coefficient 2 n(s, t) / (n(s) + n(t))."""

    def __init__(self, verses: Aligned) -> None:
        super().__init__()
        self.left, self.right, self.both = Counter(), Counter(), Counter()
        for source, target in zip(verses.source, verses.target, strict=True):
            self.left.update(set(source))
            self.right.update(set(target))
            self.both.update((s, t) for s in set(source) for t in set(target))

    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[Links]:
        def dice(s: str, t: str) -> float:
            return 2 * self.both[s, t] / max(1, self.left[s] + self.right[t])

        return [
            {(max(range(len(left)), key=lambda at: dice(left[at], word)), there) for there, word in enumerate(right)}
            for left, right in zip(source, target, strict=True)
        ]


def _verses(data_root: str | None) -> list[list]:
    """(number, Greek words, Greek lemmas, English words, links) of each verse that has links, in order."""

    def build() -> dict[str, torch.Tensor]:
        source = _by_verse(read_greek(data_root))
        target = _by_verse(token for token in read_english(data_root) if any(map(str.isalnum, token.text)))
        place = {token.key: at for verse in source.values() for at, token in enumerate(verse)}
        there = {token.key: at for verse in target.values() for at, token in enumerate(verse)}
        links: dict[int, list[tuple[int, int]]] = {}
        for left, right in read_links(data_root):
            for first, second in product(left, right):
                # A few records reach into the next verse.
                if first[:8] == second[:8] and second in there:
                    links.setdefault(int(first[:8]), []).append((place[first], there[second]))
        rows = [
            (
                number,
                [token.text.lower() for token in source[number]],
                [token.lemma.lower() for token in source[number]],
                [token.text.lower() for token in target[number]],
                links[number],
            )
            for number in source
            if number in links
        ]
        return {"json": torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8)}

    # Reading three tables takes seconds, so what comes of it is kept.
    stored = cached_tensors("greek", build, (BIBLE_ALIGNMENTS,), version=1, data_root=data_root)["json"]
    return json.loads(stored.numpy().tobytes())


def _by_verse(tokens: Iterable[Token]) -> dict[int, list[Token]]:
    return {number: list(found) for number, found in groupby(tokens, key=lambda token: token.verse)}
