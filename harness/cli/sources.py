"""The catalogue of data sources on the console."""

import shutil
import sys
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from harness.console import print_table

if TYPE_CHECKING:
    from data.sources.base import Source

WIDE = 160
"""Columns of a terminal that six columns of words can share."""


def print_sources(found: Sequence["Source"]) -> None:
    """A line a source; on a terminal that has no room for it a paragraph each, so that no name is cut."""
    columns = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or columns >= WIDE:
        names = ("source", "size", "fetched", "package", "licence", "what")
        rows = [
            (one.name, _size(one.size), "yes" if one.fetched else "no", _package(one), one.licence, one.title)
            for one in found
        ]
        print_table(names, rows)
        return
    for one in found:
        print(f"{one.name}, {_size(one.size)}, {'fetched' if one.fetched else 'not fetched'}")
        for text in (one.title, f"{_package(one)}; {one.licence}"):
            print(fill(text, columns, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def _package(one: "Source") -> str:
    return f"{one.client} {one.package} {one.version}"


def _size(size: int) -> str:
    """ "12.3 MB", and kB of what is smaller than 0.1 MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(1, round(size / 1e3))} kB"
