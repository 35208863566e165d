"""The API reference: a page a package, from its docstrings, which Sphinx reads by importing the modules."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any

PACKAGES = ("common", "data")
"""Whose docstrings are shown: the parts that methods are built of. Papers show their module as it stands."""
_SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes|Example|Examples|Note|Source)s?:", re.M)


def pages(packages: Sequence[str] = PACKAGES) -> Iterator[tuple[str, str]]:
    """The place and the text of each page."""
    names = [name for package in packages for name in _packages(package)]
    for name in names:
        yield f"api/{name}.md", page(name)
    listing = "\n".join(names)
    said = (
        "What methods are built of, from the docstrings; a page a package. `papers.load` is told of on the front page."
    )
    yield "api/index.md", f"# API\n\n{said}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"


def _packages(name: str) -> Iterator[str]:
    """A package and those below it, without importing more than they hold."""
    yield name
    for found in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}."):
        if found.ispkg:
            yield from _packages(found.name)


def page(package: str) -> str:
    """All modules of a package; what it only gathers from them is told where it stands."""
    modules = [
        m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.") if not m.ispkg
    ]
    parts = [f"# {package}", _directive(f".. automodule:: {package}", "no-members")]
    for module in modules:
        parts += [f"## {module.rpartition('.')[2]}", _directive(f".. automodule:: {module}", "members")]
    return "\n\n".join(parts) + "\n"


def _directive(line: str, option: str) -> str:
    return f"```{{eval-rst}}\n{line}\n   :{option}:\n```"


def to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Makes a docstring of this house, which is plain text with Google's sections and `code`, what docutils reads.

    Letters that mean something to docutils stand for themselves, as in |x|, x_i* and 2**3. A list's bullets and what
    is indented after "::" stay as they are.
    """
    quoted: int | None = None  # how far the line with "::" is indented whose block this is
    for at, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if quoted is None or (line.strip() and indent <= quoted):
            quoted = indent if line.rstrip().endswith("::") else None
            lines[at] = _line(line)


def _line(line: str) -> str:
    bullet = re.match(r"\s*\* ", line)
    if bullet:
        return bullet[0] + _line(line[bullet.end() :])
    pieces = re.split(r"`+([^`]+)`+", line)
    plain = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
    codes = [f"``{code}``" for code in pieces[1::2]]
    return "".join(piece for both in zip(plain, [*codes, ""], strict=True) for piece in both)


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx; before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", to_rst, priority=400)
    return {"parallel_read_safe": True}
