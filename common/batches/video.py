"""Batches of clips."""

from typing import NamedTuple

from torch import Tensor


class VideoText(NamedTuple):
    """`n` clips with their captions."""

    frames: Tensor
    """Float pixels in [0, 1], shape (n, frames, channels, height, width)."""
    texts: list[list[str]]
    """A list of n captions for each language that takes part; most methods have one."""
    verb_swapped: list[list[str]]
    """Lists of n captions in the first language that each tell of another verb: hard negatives, where asked for."""
    verbs: list[str]
    """What somebody does in each clip, in the words of the first language: "moves left"."""
    ids: Tensor
    """Global sample id of each clip, shape (n,)."""
    text_ids: Tensor
    """Global id of what the captions say: rows with equal ids are positives of each other, shape (n,)."""

    @property
    def text(self) -> list[str]:
        """The captions in the first language."""
        return self.texts[0]


class Demonstrations(NamedTuple):
    """`n` episodes of an expert, each with a video that shows the same mission done elsewhere."""

    prompt: Tensor
    """Pixels of the video, uint8, shape (n, frames, channels, height, width)."""
    frames: Tensor
    """What the expert saw before each action, uint8, shape (n, steps, channels, height, width)."""
    actions: Tensor
    """What it did, int64 of shape (n, steps)."""
    text: list[str]
    """The mission in words."""
    missions: Tensor
    """Number of the mission: rows with equal ones are positives of each other, int64 of shape (n,)."""
    ids: Tensor
    """Global id of each episode, shape (n,)."""
