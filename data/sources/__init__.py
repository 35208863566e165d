"""Every data source, found by looking at this folder. A new source is a new file; nothing else changes."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.experiments.schema import closest
from data.clients import Unavailable

if TYPE_CHECKING:
    from data.sources.base import Progress, Source


def catalog() -> "dict[str, Source]":
    """All sources by name. Imports neither torch nor numpy."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    modules = [file.stem for file in files if file.stem not in ("__init__", "base")]
    sources = [source for module in modules for source in import_module(f"{__name__}.{module}").SOURCES]
    return {source.name: source for source in sorted(sources, key=lambda source: source.name)}


def fetch(names: Iterable[str] | None = None, progress: "Progress | None" = None) -> None:
    """Fetches the named sources, or all of them, and unpacks them; what is sound in the cache is left alone.

    A source that cannot be had, for want of its client say, does not keep the others from being fetched.

    Raises:
        UserError: an unknown name, before anything is fetched; what went wrong, if it was one source; else which
            sources are missing, each of which has been told to `progress`.
    """
    known = catalog()
    wanted = list(known if names is None else names)
    if unknown := [name for name in wanted if name not in known]:
        hint = closest(unknown[0], known)
        raise UserError(f"data source {unknown[0]!r} is unknown{hint}; there are: {', '.join(known)}")
    missing = []
    for name in wanted:
        try:
            known[name].local(progress)
        except Unavailable as error:
            if len(wanted) == 1:
                raise
            missing.append(name)
            if progress is not None:
                progress(str(error))
    if missing:
        raise UserError(f"{len(missing)} of {len(wanted)} sources could not be fetched: {', '.join(missing)}")


def announcement(wanted: "Iterable[Source]") -> str:
    """One line that says what a run would download for these sources; "" if nothing. Downloads and writes nothing."""
    missing = [source for source in dict.fromkeys(wanted) if not source.fetched]
    if not missing:
        return ""
    each = ", ".join(f"{source.name} ({source.client}, {source.size / 1e6:.1f} MB)" for source in missing)
    return f"{sum(source.size for source in missing) / 1e6:.1f} MB to download: {each}"
