"""The papers that were surveyed: papers/survey.csv. Which of them are here, the folders tell."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.lines import read_text


class Surveyed(NamedTuple):
    """A line of the survey."""

    slug: str
    family: str
    year: int
    title: str


def survey(root: Path) -> list[Surveyed]:
    """All lines, by family and slug; none where a repository has no such file.

    Raises:
        UserError: another head, a line with more or fewer cells, or a year that is no number.
    """
    path = root / "papers/survey.csv"
    return list(_read(path)) if path.is_file() else []


def _read(path: Path) -> Iterator[Surveyed]:
    lines = csv.reader(read_text(path).splitlines())
    head = next(lines, [])
    if tuple(head) != Surveyed._fields:
        raise UserError(f"{path.name}:1: its head is {','.join(head)!r}; it must be {','.join(Surveyed._fields)!r}")
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(head) or not cells[2].isdecimal():
            raise UserError(f"{path.name}:{number}: a line has a slug, a family, a year and a title; it is {cells}")
        slug, family, year, title = cells
        yield Surveyed(slug, family, int(year), title)
