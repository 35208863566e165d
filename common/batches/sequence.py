"""Batches of other sequences with texts: motions, signals, proteins."""

from typing import NamedTuple

from torch import Tensor


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


class SignalTexts(NamedTuple):
    """`n` recordings of several channels, each with a report."""

    signal: Tensor
    """Shape (n, channels, time)."""
    text: list[str]
    text_ids: Tensor
    """Number of each report: rows with equal ones have the same text, shape (n,)."""
    ids: Tensor
    """Global id of each recording, shape (n,)."""


class ProteinTexts(NamedTuple):
    """`n` proteins and what they are called, as a batch or as a whole split."""

    sequence: list[str]
    """Amino acids, one letter each."""
    text: list[str]
    text_ids: Tensor
    """Number of each text: rows with equal ones have the same text and are positives of each other, shape (n,)."""
    ids: Tensor
    """Global id of each protein, shape (n,)."""
