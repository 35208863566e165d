"""The Bible in four English versions, cut by whole books: what `verses` and the corpus of `english` both stand on."""

import json
import re

import torch

from data.cache import cached_tensors
from data.sources.pythonbible import VERSIONS, read_verses

TEST_BOOKS = (9, 43, 45)
"""1 Samuel, John, Romans: a narrative, a gospel, a letter."""
VAL_BOOKS = (7, 21, 48)
"""Judges, Ecclesiastes, Galatians."""

Verses = dict[int, dict[str, str]]
"""The readings of each verse by version, under its number book * 1,000,000 + chapter * 1,000 + verse."""


def split_of(number: int) -> str:
    """ "train", "val" or "test" for a verse, by its book."""
    book = number // 1_000_000
    return "test" if book in TEST_BOOKS else "val" if book in VAL_BOOKS else "train"


def words_of(text: str) -> str:
    """The text as lower-case words alone: what two verses must share to be the same."""
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def read_bible(data_root: str | None = None) -> dict[str, Verses]:
    """The verses by split, in the order of the books.

    No reading of a verse, in any version, is found in another verse: the Bible quotes and repeats itself, so of verses
    that share one only the first stays, and the splits that are scored come before the one to train on. A verse is left
    out, too, where one of its versions is empty.
    """

    def build() -> dict[str, torch.Tensor]:
        text = json.dumps(_distinct({version: read_verses(version, data_root) for version in VERSIONS}))
        return {"json": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}

    # Reading a version means parsing 6 MB of Python, so what comes of it is kept.
    stored = cached_tensors("bible", build, tuple(VERSIONS.values()), version=1, data_root=data_root)["json"]
    splits = json.loads(stored.numpy().tobytes())
    return {split: {int(number): verse for number, verse in verses.items()} for split, verses in splits.items()}


def _distinct(versions: dict[str, dict[int, str]]) -> dict[str, Verses]:
    splits: dict[str, Verses] = {"test": {}, "val": {}, "train": {}}
    seen: set[str] = set()
    for split, kept in splits.items():
        for number in versions["kjv"]:
            if split_of(number) != split:
                continue
            # The KJV brackets the words that its translators added; they belong to the sentence.
            verse = {v: texts.get(number, "").translate({91: None, 93: None}) for v, texts in versions.items()}
            readings = {words_of(text) for text in verse.values()}
            if "" not in readings and not readings & seen:
                kept[number] = verse
            seen |= readings
    return splits
