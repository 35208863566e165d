"""The Bible in four English versions, cut by whole books: what `verses` and the corpus of `english` both stand on."""

import re
from functools import lru_cache

from data.sources.pythonbible import VERSIONS, read_verses

TEST_BOOKS = (9, 43, 45)  # 1 Samuel, John, Romans: narrative, gospel, letter
VAL_BOOKS = (7, 21, 48)  # Judges, Ecclesiastes, Galatians


def split_of(verse: int) -> str:
    """ "train", "val" or "test" for a verse's number, by its book."""
    book = verse // 1_000_000
    return "test" if book in TEST_BOOKS else "val" if book in VAL_BOOKS else "train"


def words_of(text: str) -> str:
    """The text as lower-case words alone: what two verses must share to be the same."""
    return " ".join(re.findall(r"[a-z]+", text.lower()))


@lru_cache(maxsize=2)
def bible(data_root: str | None = None) -> dict[str, dict[int, dict[str, str]]]:
    """The verses by split, number and version.

    A verse is left out where one of its versions is empty; where it reads the same in any version as one of another
    split that is scored (the Bible quotes itself), it stays in the scored split alone; and of verses that read the
    same within a split the first stays, so that each has one right answer in a gallery.
    """
    versions = {version: read_verses(version, data_root) for version in VERSIONS}
    splits: dict[str, dict[int, dict[str, str]]] = {"test": {}, "val": {}, "train": {}}
    seen: set[str] = set()
    # The test split first: the others give way to it.
    for split, kept in splits.items():
        for number in versions["kjv"]:
            if split_of(number) != split:
                continue
            verse = {version: _clean(texts.get(number, "")) for version, texts in versions.items()}
            readings = {words_of(text) for text in verse.values()}
            if "" in readings or readings & seen:
                continue
            seen |= readings
            kept[number] = verse
    return splits


def _clean(text: str) -> str:
    # The KJV brackets the words that its translators added; they belong to the sentence.
    return text.replace("[", "").replace("]", "")
