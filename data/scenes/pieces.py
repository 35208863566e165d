"""The pieces of the captions of scenes, all whole words: a vocabulary for models that write captions."""

from pathlib import Path

from common.encoders.vocabulary import Vocabulary

START = "[START]"
"""The token that every caption begins with."""
PIECES = Path(__file__).with_name("pieces.json")
"""Learnt from the English captions of `Scenes`, by the module `vocabulary` of CoCa."""
SIZE = 279


def scene_vocabulary() -> Vocabulary:
    """The vocabulary of the scenes' English captions."""
    return Vocabulary(None, PIECES, SIZE, __name__)
