"""Motion capture of a humanoid, 15 named clips, from the pybullet wheel."""

import json
from typing import TYPE_CHECKING, NamedTuple

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

PYBULLET_MOTIONS = Source(
    name="pybullet_motions",
    title="named humanoid motions such as walk, kick and cartwheel",
    client="pip",
    package="pybullet",
    version="3.2.7",
    filename="pybullet-3.2.7-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="5d858abf7c12a21ef3ed351cf81dac1b5e486ec25c9ab59bfc84beb89034edff",
    size=103_196_742,
    licence="zlib (package)",
    citation="Coumans and Bai, PyBullet; Peng et al. (2018), DeepMimic; clips after the CMU and SFU databases",
)
SOURCES = (PYBULLET_MOTIONS,)


class Motion(NamedTuple):
    name: str
    frames: "np.ndarray"
    """Duration in seconds, root position (3), root orientation (4, quaternion) and joint rotations: (frames, 44)."""
    loops: bool


def read_motions(data_root: str | None = None) -> list[Motion]:
    """The humanoid's clips in the order of their names."""
    import numpy as np

    prefix = "pybullet_data/data/motions/humanoid3d_"
    motions = []
    for path, content in sorted(PYBULLET_MOTIONS.open(data_root).files(prefix, ".txt")):
        clip = json.loads(content)
        motions.append(Motion(path[len(prefix) : -4], np.array(clip["Frames"]), clip["Loop"] == "wrap"))
    return motions
