"""The typed batches that benchmarks yield and methods consume.

They are named tuples, so that Lightning moves them between devices by itself. `ids` are global sample ids: positives,
false-negative filters and per-sample random numbers are all keyed by them, never by a position in the batch.
"""

from typing import NamedTuple

from torch import Tensor


class Images(NamedTuple):
    """Augmented views of `n` images."""

    views: Tensor
    """Float pixels in [0, 1], shape (views, n, channels, height, width)."""
    labels: Tensor
    """Class of each image, shape (n,)."""
    ids: Tensor
    """Global sample id of each image, shape (n,)."""


class ImageText(NamedTuple):
    """`n` pictures with their captions."""

    views: Tensor
    """Float pixels in [0, 1] of each augmented view, shape (views, n, channels, height, width)."""
    texts: list[list[str]]
    """A list of n captions for each language that takes part; most methods have one."""
    ids: Tensor
    """Global sample id of each picture, shape (n,)."""
    text_ids: Tensor
    """Global id of what the captions say: rows with equal ids are positives of each other, shape (n,)."""

    @property
    def pixels(self) -> Tensor:
        """The first view, shape (n, channels, height, width)."""
        return self.views[0]

    @property
    def text(self) -> list[str]:
        """The captions in the first language."""
        return self.texts[0]


class Sentences(NamedTuple):
    """`n` sentences without labels."""

    text: list[str]
    ids: Tensor
    """Global sample id of each sentence, shape (n,)."""

    def twice(self) -> list[str]:
        """The sentences followed by themselves, 2n rows: one forward pass gives each row its own dropout mask."""
        return [*self.text, *self.text]


class SentenceTriplets(NamedTuple):
    """`n` anchors, each with a positive and, where mined, a hard negative."""

    anchor: list[str]
    positive: list[str]
    negative: list[str]
    """One hard negative per anchor."""
    ids: Tensor
    """Global id of what the anchor says: rows with equal ids are positives of each other, shape (n,)."""


class LabelledTexts(NamedTuple):
    """`n` texts with their classes, as a batch or as a whole split."""

    text: list[str]
    labels: Tensor
    """Class of each text, -1 where the method is not to know it, int64 of shape (n,)."""
    domains: Tensor
    """Domain of each text, 0 in a benchmark that has but one, int64 of shape (n,)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""

    def rows(self, index: Tensor) -> "LabelledTexts":
        """The texts at the positions `index`, in that order."""
        text = [self.text[i] for i in index.tolist()]
        return LabelledTexts(text, self.labels[index], self.domains[index], self.ids[index])


class TextPairs(NamedTuple):
    """`n` queries, each with the document that answers it."""

    query: list[str]
    document: list[str]
    ids: Tensor
    """Global id of each pair, shape (n,)."""


class MultiLabelTexts(NamedTuple):
    """`n` texts, each with the labels out of a fixed list that apply to it."""

    text: list[str]
    positive: Tensor
    """Positions of the labels of each text, padded with -1, int64 of shape (n, p)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""


class CaptionedMotions(NamedTuple):
    """`n` motions, each with a text that describes it."""

    motion: Tensor
    """Frames of c channels, padded with zeros to the longest motion, float of shape (n, t, c)."""
    length: Tensor
    """Frames of each motion, int64 of shape (n,)."""
    text: list[str]
    meaning: Tensor
    """Unit vectors whose cosines say how alike two texts are, shape (n, e)."""
    ids: Tensor
    """Global sample id of each motion, shape (n,)."""
