"""WordNet 3.0: nouns and verbs by meaning, with their glosses and what they are a kind of, as Debian ships it."""

import re
from typing import NamedTuple

from common.lines import split_lines
from data.sources.base import Source

WORDNET = Source(
    name="wordnet",
    title="WordNet 3.0: 82,115 noun and 13,767 verb meanings with glosses and hypernyms",
    client="apt",
    package="wordnet-base",
    version="1:3.0-37",
    filename="wordnet-base_1%3a3.0-37_all.deb",
    sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    size=6_467_132,
    licence="WordNet 3.0 licence (Princeton University; free for any purpose)",
    citation="Miller (1995), WordNet: a lexical database for English; Fellbaum (1998), WordNet: an electronic lexical "
    "database",
    notes="A gloss is a definition and, in quotation marks, examples of use.",
)
SOURCES = (WORDNET,)

Key = tuple[str, int]
"""A meaning: "n" or "v", and its place in the file."""


class Meaning(NamedTuple):
    """A synset: words that mean the same, with one gloss."""

    gloss: str
    """Definition and examples, as they stand."""
    hypernyms: tuple[Key, ...]
    """What it is a kind or an instance of, directly."""
    file: int
    """The lexicographers' file that it comes from: 4 for acts, 5 for animals, 6 for artifacts ..."""


_FILES = {"n": "usr/share/wordnet/data.noun", "v": "usr/share/wordnet/data.verb"}
# "@" points to a class and "@i" from an instance; words hold no blanks, so nothing else looks like a pointer.
_HYPERNYM = re.compile(r" @i? (\d{8}) ([nv]) ")


def read_wordnet(data_root: str | None = None) -> dict[Key, Meaning]:
    """The meanings of nouns and verbs, in the order of their files."""
    contents = WORDNET.open(data_root).read_all(_FILES.values())
    found = {}
    for part, path in _FILES.items():
        for line in split_lines(contents[path].decode("ascii")):
            if not line.startswith(" "):  # the licence, at the top
                data, _, gloss = line.partition(" | ")
                hypernyms = tuple((of, int(offset)) for offset, of in _HYPERNYM.findall(data))
                found[part, int(data[:8])] = Meaning(gloss.strip(), hypernyms, int(data[9:11]))
    return found
