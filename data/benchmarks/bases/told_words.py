"""Which words out of a list captions hold."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import torch
from torch import Tensor

_TAG, _WORD = re.compile("<.*?>"), re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


def words_of(caption: str) -> list[str]:
    """The words of a caption of the web in lower case, without its addresses' escapes and its HTML."""
    return _WORD.findall(_TAG.sub("", unquote(caption).replace("+", " ")).lower())


def told(captions: Sequence[str], columns: Mapping[str, int]) -> Tensor:
    """Which words each caption holds.

    Args:
        captions: n texts.
        columns: the place of each form of a word; forms of one word share it.

    Returns:
        bool of shape (n, k), k the last place and one.
    """
    found = torch.zeros(len(captions), 1 + max(columns.values()), dtype=torch.bool)
    for row, caption in enumerate(captions):
        places = [columns[word] for word in words_of(caption) if word in columns]
        found[row, places] = True
    return found
