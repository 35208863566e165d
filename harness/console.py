"""Output for people and for pipes: rich on a terminal, plain lines anywhere else."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
STYLES = {
    "reproduced": "green",
    "holds": "green",
    "direction only": "yellow",
    "not reproduced": "red",
    "violated": "red",
    "not run": "dim",
}
"""How cells that are a verdict look on a terminal."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Prints rows under their column names; columns of numbers align right.

    On a terminal text wraps within its column and numbers never do. In a pipe every row is one line.
    """
    numeric = [
        any(row[i] for row in rows) and all(not row[i] or row[i][0] in "0123456789+-.—" for row in rows)
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


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, with a bar on stderr while they are worked through; no bar where nobody watches."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, what, total, console=Console(stderr=True), transient=True)


def say(text: str) -> None:
    """A remark, on stderr so that stdout stays what was asked for."""
    print(f"papers: {text}", file=sys.stderr)


def shown_path(path: Path) -> str:
    """The path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
