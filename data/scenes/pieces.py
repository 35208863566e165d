"""The pieces of the captions of scenes, all whole words, as a vocabulary for models that write them."""

from pathlib import Path

from common.encoders.vocabulary import Vocabulary

START = "[START]"
"""The token that every caption begins with."""
PIECES = Path(__file__).with_name("pieces.json")
"""Learnt by `python -m papers.vision_language.coca.vocabulary scenes`."""


def scene_vocabulary(path: str | None, size: int) -> Vocabulary:
    """The vocabulary in a file; by default that of the scenes.

    Args:
        path: of a tokenizer that has `START`, `model.vocabulary`.
        size: how many tokens it must have, `model.vocab_size`.
    """
    return Vocabulary(path, PIECES, size, "papers.vision_language.coca.vocabulary")
