"""Chinese characters stroke by stroke: the middle line of every stroke, in the order of writing."""

import json
from typing import TYPE_CHECKING

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

HANZI = Source(
    name="hanzi",
    title="9,574 Chinese characters, each with the outline and the middle line of every stroke in the order of writing",
    client="npm",
    package="hanzi-writer-data",
    version="2.0.1",
    filename="hanzi-writer-data-2.0.1.tgz",
    sha256="72baf3d82b114e60d6e40ea05f24d2262a05cd39d544e2f322ba2fceb7beff15",
    size=13_484_680,
    licence="Arphic Public License",
    citation="Arphic Technology (1999), the fonts; Shaunak Kishore, Make Me a Hanzi; David Chanin, Hanzi Writer",
    notes="The vertical axis points up. A line may stand still at a point, and reach a little out of its square.",
)
SOURCES = (HANZI,)

_FOLDER = "package/"


def read_strokes(data_root: str | None = None) -> "dict[str, list[np.ndarray]]":
    """Character -> the middle line of each of its strokes, in the order of the characters' code points.

    A line is float64 of shape (points, 2), to the right and down, in units of half the side of the character's square,
    whose middle is 0.
    """
    import numpy as np

    characters = {}
    for path, content in HANZI.open(data_root).files(_FOLDER, ".json"):
        name = path[len(_FOLDER) :].removesuffix(".json")
        if len(name) == 1:  # beside them stand the package's own description and one file of all characters
            lines = json.loads(content)["medians"]
            # Of 1,024 units a side; the baseline of the font is at 0, and the square goes from -124 to 900 above it.
            characters[name] = [(np.array(line, float) - (512, 388)) / (512, -512) for line in lines]
    return dict(sorted(characters.items()))
