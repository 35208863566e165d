"""Tables for people and for pipes: rich on a terminal, plain aligned columns anywhere else."""

import sys
from collections.abc import Sequence
from pathlib import Path


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Prints rows under their column names. Columns whose cells all begin with a digit or a sign align right."""
    numeric = [
        any(row[i] for row in rows) and all(not row[i] or row[i][0] in "0123456789+-." for row in rows)
        for i in range(len(columns))
    ]
    if sys.stdout.isatty():
        # Only here, since importing rich costs as much as reading all the cards.
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(escape(name), justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        Console().print(table)
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


def say(text: str) -> None:
    """A remark, on stderr so that stdout stays what was asked for."""
    print(f"papers: {text}", file=sys.stderr)


def shown_path(path: Path) -> str:
    """The path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
