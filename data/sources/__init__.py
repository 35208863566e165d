"""Every data source, found by looking at this folder. A new source is a new file; nothing else changes."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    from data.sources.base import Progress, Source


def catalog() -> "dict[str, Source]":
    """All sources by name. Imports neither torch nor numpy."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    modules = [file.stem for file in files if file.stem not in ("__init__", "base")]
    sources = [source for module in modules for source in import_module(f"{__name__}.{module}").SOURCES]
    return {source.name: source for source in sorted(sources, key=lambda source: source.name)}


def fetch(names: Iterable[str] | None = None, progress: "Progress | None" = None) -> None:
    """Fetches the named sources, or all of them; what is in the cache is left alone.

    Raises:
        UserError: an unknown name, or the first source that could not be fetched.
    """
    known = catalog()
    for name in known if names is None else names:
        if name not in known:
            raise UserError(f"data source {name!r} is unknown; there are: {', '.join(known)}")
        known[name].fetch(progress)
