"""Shoulder exercises recorded by a watch: 140 series of inertial measurements, from the seglearn wheel."""

import io
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

SEGLEARN = Source(
    name="seglearn",
    title="140 series of 6 inertial channels at 50 Hz: 7 shoulder exercises x 10 people x 2 sides",
    client="pip",
    package="seglearn",
    version="1.2.5",
    filename="seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    size=11_320_941,
    licence="BSD-3-Clause",
    citation="Burns et al. (2018), Shoulder physiotherapy exercise recognition",
    notes="The file is a pickle of a dictionary; only arrays are let through.",
)
SOURCES = (SEGLEARN,)


class Series(NamedTuple):
    signal: "np.ndarray"
    """Acceleration (3) and angular velocity (3), shape (time, 6)."""
    exercise: str
    """One of PEN, ABD, FEL, IR, ER, TRAP, ROW."""
    subject: int
    """1 to 10."""
    side: int
    """0 or 1."""


class _ArraysOnly(pickle.Unpickler):
    """Builds numpy arrays and plain containers, and refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        import codecs

        import numpy as np

        # A published name of numpy's private _reconstruct, wherever the installed version keeps it.
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("_codecs", "encode"): codecs.encode,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return allowed[module, name]


def read_watch(data_root: str | None = None) -> list[Series]:
    """All series in the file's order."""
    import numpy as np

    file = io.BytesIO(SEGLEARN.open(data_root).read("seglearn/data/watch_dataset.npy"))
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    table = _ArraysOnly(file).load().item()
    columns = zip(table["X"], table["y"], table["subject"], table["side"], strict=True)
    return [Series(signal, table["y_labels"][int(y)], int(who), int(side)) for signal, y, who, side in columns]
