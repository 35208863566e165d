"""Batches of texts."""

from typing import NamedTuple

from torch import Tensor


class Sentences(NamedTuple):
    """`n` sentences without labels."""

    text: list[str]
    ids: Tensor
    """Global sample id of each sentence, shape (n,)."""

    def twice(self) -> list[str]:
        """The sentences followed by themselves, 2n rows: one forward pass gives each row its own dropout mask."""
        return [*self.text, *self.text]


class SentenceParts(NamedTuple):
    """`n` sentences, each with two parts of it as texts of their own."""

    text: list[str]
    left: list[str]
    right: list[str]
    ids: Tensor
    """Global sample id of each sentence, shape (n,)."""


class SentenceTriplets(NamedTuple):
    """`n` anchors, each with a positive and, where mined, a hard negative."""

    anchor: list[str]
    positive: list[str]
    negative: list[str]
    """One hard negative per anchor."""
    ids: Tensor
    """Global id of what the anchor says: rows with equal ids are positives of each other, shape (n,)."""


class GradedPairs(NamedTuple):
    """`n` pairs of sentences with how alike they are, as a batch or as a whole split."""

    first: list[str]
    second: list[str]
    grades: Tensor
    """Similarity of each pair, the higher the more alike, -1 where the method is not to know it, float (n,)."""
    ids: Tensor
    """Global id of each pair, shape (n,)."""


class LabelledTexts(NamedTuple):
    """`n` texts with their classes, as a batch or as a whole split."""

    text: list[str]
    labels: Tensor
    """Class of each text, -1 where the method is not to know it, int64 of shape (n,)."""
    domains: Tensor
    """Domain of each text, 0 in a benchmark that has but one, int64 of shape (n,)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""


class MultiLabelTexts(NamedTuple):
    """`n` texts, each with the labels out of a fixed list that apply to it, as a batch or as a whole split."""

    text: list[str]
    positive: Tensor
    """Positions of the labels of each text, padded with -1, int64 of shape (n, p)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""


class TextPairs(NamedTuple):
    """`n` queries, each with the document that answers it, as a batch or as a whole split."""

    query: list[str]
    document: list[str]
    ids: Tensor
    """Global id of each pair, shape (n,)."""


class MinedTexts(NamedTuple):
    """`n` queries, each with a document that answers it and with documents that were mined as hard negatives."""

    query: list[str]
    document: list[str]
    negatives: list[list[str]]
    """As many of each query."""
    ids: Tensor
    """Global id of each query, shape (n,)."""


class TaskTexts(NamedTuple):
    """`n` samples of two tasks in one format: queries with right and wrong documents, and graded pairs."""

    query: list[str]
    """Or a pair's first text."""
    positives: list[list[str]]
    """As many of each query; of a pair its second text."""
    negatives: list[list[str]]
    """As many of each query, at least one; of a pair none, by which it is known."""
    grades: Tensor
    """How alike the texts of a pair are, at most 1; -1 of a query, float (n,)."""
    ids: Tensor
    """Global id of each sample, shape (n,)."""

    @property
    def text(self) -> list[str]:
        """All of them, queries first."""
        return [*self.query, *(text for many in (*self.positives, *self.negatives) for text in many)]


class ParallelWords(NamedTuple):
    """`n` sentences and their translations, cut into words."""

    source: list[list[str]]
    target: list[list[str]]
    ids: Tensor
    """Global id of each sentence, shape (n,)."""


class Translations(NamedTuple):
    """`n` sentences, each in two languages."""

    source: list[str]
    target: list[str]
    source_language: Tensor
    """Position of each source sentence's language in the benchmark's list, int64 of shape (n,)."""
    target_language: Tensor
    ids: Tensor
    """Global id of what each sentence says: rows with equal ids are translations of each other, shape (n,)."""


class WordPairs(NamedTuple):
    """`n` pairs of words that stand near each other in a text."""

    neighbour: Tensor
    """Position of the word beside it in the vocabulary, int64 of shape (n,)."""
    centre: Tensor
    """Position of the word that the window is around, int64 of shape (n,)."""
    ids: Tensor
    """Global id of each pair, shape (n,)."""


class ParallelTexts(NamedTuple):
    """`n` texts in several languages: a whole training set, from which pairs are drawn."""

    texts: tuple[list[str], ...]
    """By language."""
    pairs: Tensor
    """Which languages stand beside each other in training, (source, target), int64 of shape (p, 2)."""
    ids: Tensor
    """Global id of what each text says, as in the batches, in ascending order, shape (n,)."""
