"""Output for people and for pipes: rich on a terminal, plain lines anywhere else."""

import codecs
import contextlib
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TextIO, TypeVar

T = TypeVar("T")
STYLES = {
    "reproduced": "green",
    "holds": "green",
    "contradicted": "red",
    "no difference": "cyan",
    "undecided": "yellow",
    "no test": "dim",
    "violated": "red",
    "not run": "dim",
}
"""How cells that are a verdict look on a terminal."""


PLAIN = {"\u2014": "-", "\u2013": "-", "\u2212": "-", "\u00b1": "+-", "\u00d7": "x", "\u2264": "<=", "\u2265": ">="}
"""What stands for a character that the terminal cannot show."""


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """The nearest characters of ASCII: "Henaff" for "Hénaff"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = []
    for letter in error.object[error.start : error.end]:
        base = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
        letters.append(PLAIN.get(letter) or base or "?")
    return "".join(letters), error.end


codecs.register_error("plainly", _plainly)


def open_streams() -> None:
    """Lets output degrade to what the terminal can show, and go nowhere where it was closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - a device, to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plainly")


def close_streams() -> None:
    """After output failed: nothing more is written, and Python does not complain once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def print_json(rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows for programs: one JSON array, an object a row."""
    print(json.dumps(rows, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Prints rows under their column names; columns of numbers align right.

    On a terminal text wraps within its column and numbers never do. In a pipe every row is one line.
    """
    numeric = [
        any(row[i] for row in rows) and all(not row[i] or _is_number(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    if sys.stdout.isatty():
        # Only here, since importing rich costs as much as reading all the cards.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for i, (name, right) in enumerate(zip(columns, numeric, strict=True)):
            short = right or (i == 0 and max(len(row[0]) for row in [columns, *rows]) <= 24)
            table.add_column(Text(name), justify="right" if right else "left", no_wrap=short, header_style="dim")
        for row in rows:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        console = Console()
        if title:
            console.print(Text(title, style="bold"))
        console.print(table)
        return
    if title:
        print(title)
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    """Whether it begins as a number and goes on with no more than a unit: "0.92 [0.90, 0.94]", "12.5 MB", "6 min".

    "3 not run" and "1 holds, 1 violated" are words.
    """
    words = re.findall("[A-Za-z]{2,}", cell)
    return cell[0] in "0123456789+-.—" and (not words or (len(words) == 1 and len(words[0]) <= 3))


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, with a bar on stderr while they are worked through; no bar where nobody watches."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, what, total, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Says on stderr what is being done until it is done, where somebody watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def within(text: str, stream: TextIO | None) -> str:
    """A line as a stream shows it: on a terminal wrapped at words, whole anywhere else."""
    if stream is None or not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return fill(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def print_lines(lines: Iterable[str]) -> None:
    """Sentences on stdout, each as `within` has it."""
    print(*(within(line, sys.stdout) for line in lines), sep="\n", flush=True)


def say(text: str) -> None:
    """A remark, on stderr so that stdout stays what was asked for."""
    print(within(f"papers: {text}", sys.stderr), file=sys.stderr)


def shown_path(path: Path) -> str:
    """The path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
