"""The base of benchmarks of labelled texts: 20 Newsgroups, Reuters, sentiment."""

from abc import abstractmethod
from typing import ClassVar

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from common.batches import LabelledTexts, LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.knn import knn_accuracy
from common.evaluation.means import Mean
from common.evaluation.probe import linear_probe
from common.evaluation.topics import npmi, topic_diversity
from common.protocols import ClassifiesText, EmbedsText, ListsTopics
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.halves import HalvesSampler
from common.table import Table, joined, take
from data.benchmarks.bases.floors import BagOfWords
from data.sources.base import Source

AT_ONCE = 256
"""Texts that a module embeds in one call."""


class TextClassification(Benchmark):
    """Learns from the train split; scores embeddings by a nearest-neighbour vote and a linear probe.

    Both are fitted on one fixed part of the train split, at most `gallery_per_class` texts of each class, whatever the
    switches do to the data that a method trains on.

    Args:
        batch_size: texts in one global batch.
        seed: fixes the order of the texts and which ones `shots` draws; the splits are the same for every seed.
        data_root: folder to read the source from.
        words: texts are cut after so many words.
        shots: methods train on this many labelled texts of each class alone, or on all there are of a smaller class.
            Adds the metrics `probe_linear_Kshot/...` of a probe fitted on the same texts.
        unlabelled: every other row of a batch is a text of `unlabelled_set`, with the label -1.
    """

    primary = "probe_linear/top1"
    sources: ClassVar[tuple[Source, ...]]
    classes: ClassVar[tuple[str, ...]]
    gallery_per_class: int

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        words: int = 64,
        shots: int | None = None,
        unlabelled: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if words < 1:
            raise UserError(f"data.words is {words}; it must be at least 1")
        if shots is not None and shots < 1:
            raise UserError(f"data.shots is {shots}; it must be at least 1")
        self.words = words
        self.shots = shots
        self.unlabelled = unlabelled
        self.splits: dict[str, LabelledTexts] = {}

    @abstractmethod
    def load(self) -> dict[str, LabelledTexts]:
        """Reads the sources and returns the fixed "train", "val" and "test" splits, uncut."""

    def build(self) -> None:
        for split, texts in self.load().items():
            self.splits[split] = texts._replace(text=[first_words(text, self.words) for text in texts.text])

    def labelled_set(self, seed: int | None = None) -> LabelledTexts:
        """What methods train on with labels; with `shots`, a draw that the seed fixes (by default the benchmark's)."""
        self.setup()
        train = self.splits["train"]
        if self.shots is None:
            return train
        return first_of_each_class(train, self.shots, self.seed if seed is None else seed, 1)

    def unlabelled_set(self) -> LabelledTexts:
        """What methods may train on without labels."""
        self.setup()
        return self.splits["train"]

    def train_dataloader(self) -> ResumableLoader:
        texts = self.labelled_set()
        if not self.unlabelled:
            return Table(texts).loader(self.batch_size, self.seed)
        others = self.unlabelled_set()
        order = HalvesSampler(len(texts.text), len(others.text), self.batch_size, self.seed)
        return Table(joined(texts, others._replace(labels=torch.full_like(others.labels, -1)))).loader_over(order)

    def gallery(self) -> LabelledTexts:
        """What the nearest-neighbour vote and the probe are fitted on: texts of the train split, in a fixed order."""
        return first_of_each_class(self.splits["train"], self.gallery_per_class, 0)

    def scored(self, split: str) -> dict[str, LabelledTexts]:
        """The texts that a split is scored on, by what stands before the names of their metrics."""
        return {"": self.splits[split]}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`knn20_cosine/top1`, `probe_linear/top1` and `probe_linear/macro_f1`, the mean F1 of the classes.

        Returns:
            These; `classifier/top1` and `classifier/macro_f1` if the module classifies; and if it lists topics,
            `topics/npmi10` of their first 10 words in the texts of the train split, and `topics/diversity25`.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embed_text = self.check_request(module, split, EmbedsText).embed_text
        fits = {"probe_linear": self.gallery()}
        if self.shots is not None:
            fits[f"probe_linear_{self.shots}shot"] = self.labelled_set()

        def rows_of(texts: LabelledTexts) -> Tensor:
            return embed_dataset(embed_text, texts.text, AT_ONCE, module).cpu()

        embedded = {name: rows_of(texts) for name, texts in fits.items()}
        metrics: Metrics = {}
        for part, texts in self.scored(split).items():
            rows, labels = rows_of(texts), texts.labels
            train = embedded["probe_linear"], fits["probe_linear"].labels
            metrics[f"{part}knn20_cosine/top1"] = knn_accuracy(*train, rows, labels, k=20)
            for name, fitted in fits.items():
                metrics |= _agreement(part + name, linear_probe(embedded[name], fitted.labels, rows), labels)
            if isinstance(module, ClassifiesText):
                predicted = embed_dataset(module.classify_text, texts.text, AT_ONCE, module).cpu().argmax(dim=1)
                metrics |= _agreement(f"{part}classifier", predicted, labels)
        if isinstance(module, ListsTopics):
            reference = [text.lower() for text in self.splits["train"].text]
            metrics["topics/npmi10"] = npmi(module.topic_words(10), reference)
            metrics["topics/diversity25"] = topic_diversity(module.topic_words(25))
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Always the commonest class, and the 2,000 commonest words counted."""
        texts = dict.fromkeys([*self.unlabelled_set().text, *self.splits["train"].text])
        words = self.evaluate(BagOfWords(list(texts), 2000))
        labels = self.splits["test"].labels
        commonest = _agreement("", torch.full_like(labels, int(labels.bincount().argmax())), labels)
        return {
            "commonest class": {name: commonest["/" + name.rsplit("/", 1)[1]] for name in words},
            "bag of words": words,
        }

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        places = range(0, len(train.text), max(1, len(train.text) // 5))
        return "\n".join(f"{self.classes[train.labels[i]]}: {train.text[i]}" for i in places)

    def fingerprint(self) -> str:
        """SHA-256 over the splits and what is trained on; it is the same for every seed, `shots` or not."""
        self.setup()
        scored = (texts for split in ("val", "test") for texts in self.scored(split).values())
        fitted = (self.splits["train"], self.gallery(), self.labelled_set(seed=0), self.unlabelled_set())
        parts = ((texts.text, *(tensor.tolist() for tensor in texts[1:])) for texts in (*fitted, *scored))
        return digest(self.unlabelled, *parts)


def documents(rows: list[tuple[int, str]], first_id: int = 0, domain: int = 0) -> LabelledTexts:
    """(class, text) rows with ids that count on from `first_id`."""
    labels = torch.tensor([label for label, _ in rows])
    ids = torch.arange(first_id, first_id + len(rows))
    return LabelledTexts([text for _, text in rows], labels, torch.full_like(labels, domain), ids)


def first_words(text: str, count: int) -> str:
    """The first so many words of a text, counted between blanks."""
    return " ".join(text.split()[:count])


def first_of_each_class(texts: LabelledTexts, count: int, *key: int) -> LabelledTexts:
    """`count` texts of each class, or all of a smaller class, drawn in an order that `key` fixes."""
    return take(texts, torch.cat([members[:count] for members in shuffled_classes(texts, *key)]))


def shuffled_classes(texts: LabelledTexts | LabelledVectors, *key: int) -> list[Tensor]:
    """The positions of each class, in an order that depends on the ids and `key` alone."""
    order = uniform(texts.ids, 1, *key, 6).flatten().argsort(stable=True)
    return [order[texts.labels[order] == label] for label in texts.labels.unique()]


def _agreement(name: str, predicted: Tensor, labels: Tensor) -> Metrics:
    f1 = f1_score(labels, predicted, labels=labels.unique(), average="macro", zero_division=0)
    return {f"{name}/top1": Mean(predicted == labels), f"{name}/macro_f1": float(f1)}
