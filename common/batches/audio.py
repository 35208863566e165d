"""Batches of speech."""

from typing import NamedTuple

from torch import Tensor


class SpeechViews(NamedTuple):
    """Views of excerpts of `n` recordings, all of one length; frame by frame they show the same, clean or augmented."""

    views: Tensor
    """Log-mel frames or samples of a waveform, shape (views, n, t, bands) or (views, n, t)."""
    ids: Tensor
    """Global sample id of each recording, shape (n,)."""


class SpokenCaptions(NamedTuple):
    """`n` spoken captions of pictures."""

    speech: Tensor
    """Log-mel frames, zero at padding, shape (n, t, bands)."""
    length: Tensor
    """Frames of each recording, int64 of shape (n,)."""
    transcript: list[str]
    """What is said, in the language that it is said in."""
    caption: list[str]
    """The same in English."""
    pixels: Tensor
    """Float pixels in [0, 1], shape (n, 3, height, width)."""
    ids: Tensor
    """Global id of what is shown and said, shape (n,): rows with equal ids are positives of each other."""


class TranscribedSpeech(NamedTuple):
    """`n` utterances with their transcripts."""

    speech: Tensor
    """Samples of a waveform, zero at padding, shape (n, t)."""
    length: Tensor
    """Samples of each utterance, int64 of shape (n,)."""
    transcript: list[str]
    """In capitals, without punctuation but the apostrophe."""
    ids: Tensor
    """Global sample id of each utterance, shape (n,)."""


class SpeechTranslations(NamedTuple):
    """`n` utterances with their transcripts and translations."""

    speech: Tensor
    """Log-mel frames, or samples of a waveform, zero at padding, shape (n, t, bands) or (n, t)."""
    length: Tensor
    """Frames or samples of each utterance, int64 of shape (n,)."""
    transcript: list[str]
    translation: list[str]
    source: list[str]
    """Language of each utterance, such as "en"."""
    target: list[str]
    """Language of each translation."""
    ids: Tensor
    """Global sample id of each utterance, shape (n,)."""
