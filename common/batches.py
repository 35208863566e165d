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
