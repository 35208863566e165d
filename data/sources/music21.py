"""Folk tunes in ABC notation with title, type and region, read as text from the music21 wheel."""

import re
from typing import NamedTuple

from data.sources.base import Source

MUSIC21 = Source(
    name="music21",
    title="12,978 tunes in ABC notation; 10,375 name their type, 8,534 their region",
    client="pip",
    package="music21",
    version="10.5.1",
    filename="music21-10.5.1-py3-none-any.whl",
    sha256="dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
    size=20_118_992,
    licence="mostly out of copyright; some encodings for non-commercial use only (its corpus/license.txt)",
    citation="Cuthbert and Ariza (2010), music21; Schaffrath, Essen folk-song collection; O'Neill, Ryan and Aird",
)
SOURCES = (MUSIC21,)


class Tune(NamedTuple):
    collection: str
    fields: dict[str, str]
    """Header fields by letter; the first where one repeats: T title, R type, O region, M metre, L unit, K key."""
    notes: str
    """The lines below the header."""


def read_tunes(data_root: str | None = None) -> list[Tune]:
    """All tunes, in the order of their files."""
    folder = "music21/corpus/"
    tunes = []
    for path, content in sorted(MUSIC21.open(data_root).files(folder, ".abc")):
        for block in re.split(r"(?m)^(?=X:)", content.decode("utf-8").replace("\r\n", "\n")):
            if block.startswith("X:"):
                tunes.append(_tune(path[len(folder) :].split("/")[0], block))
    return tunes


def _tune(collection: str, block: str) -> Tune:
    fields: dict[str, str] = {}
    lines = block.rstrip().split("\n")
    # K closes the header; what follows is music, in which a line may again begin with a letter and a colon.
    end = next((row + 1 for row, line in enumerate(lines) if line.startswith("K:")), len(lines))
    for line in lines[:end]:
        if re.match(r"[A-Za-z]:", line):
            fields.setdefault(line[0], line[2:].split("%")[0].strip())
    return Tune(collection, fields, "\n".join(lines[end:]))
