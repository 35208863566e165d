"""The Greek New Testament and an English translation, aligned word by word by hand, from the bible-alignments wheel."""

import json
from typing import NamedTuple

from common.lines import split_lines
from data.sources.base import Source

BIBLE_ALIGNMENTS = Source(
    name="bible_alignments",
    title="Greek New Testament (137,741 tokens) and the English BSB, 189,927 manual word links",
    client="pip",
    package="bible-alignments",
    version="0.4.2",
    filename="bible_alignments-0.4.2-py3-none-any.whl",
    sha256="84f6b15e706657777824aac811567cb5cb2b38ad2b94497209f5f3c3f67b0984",
    size=8_807_345,
    licence="CC BY 4.0 (alignments, SBLGNT); public domain (BSB)",
    citation="Biblica and Clear Bible, Alignments; Holmes (2010), SBL Greek New Testament; Berean Standard Bible",
    notes="Its files stand in a top-level folder named data, so installing it would shadow a package of that name.",
)
SOURCES = (BIBLE_ALIGNMENTS,)


class Token(NamedTuple):
    key: str
    """Book, chapter, verse and word as digits: 40001001003 is Matthew 1:1, third word."""
    text: str
    lemma: str = ""
    gloss: str = ""

    @property
    def verse(self) -> int:
        """As in `data.sources.pythonbible`: 40001001."""
        return int(self.key[:8])


def read_greek(data_root: str | None = None) -> list[Token]:
    """All Greek words in order."""
    rows = _table("data/sources/SBLGNT.tsv", data_root)
    return [Token(row["id"].removeprefix("n"), row["text"], row["lemma"], row["gloss"]) for row in rows]


def read_english(data_root: str | None = None) -> list[Token]:
    """All English words and punctuation marks of the New Testament, in order."""
    return [Token(row["id"], row["text"]) for row in _table("data/eng/targets/BSB/nt_BSB.tsv", data_root)]


def read_links(data_root: str | None = None) -> list[tuple[list[str], list[str]]]:
    """Records of (Greek keys, English keys): every word on one side corresponds to the words on the other."""
    content = BIBLE_ALIGNMENTS.open(data_root).read("data/eng/alignments/BSB/SBLGNT-BSB-manual.json")
    records = json.loads(content)["records"]
    return [([key.removeprefix("n") for key in record["source"]], record["target"]) for record in records]


def _table(path: str, data_root: str | None) -> list[dict[str, str]]:
    header, *rows = split_lines(BIBLE_ALIGNMENTS.open(data_root).read(path).decode("utf-8"))
    return [dict(zip(header.split("\t"), row.split("\t"), strict=False)) for row in rows]
