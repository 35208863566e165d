"""Builds the site: pages and pictures into a source folder, from which Sphinx makes HTML."""

import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common.errors import UserError
from common.experiments.loss_curves import CurveLedger
from common.experiments.records import Ledger
from common.lines import split_lines
from harness.files import write_text
from harness.records.floors import read_floors
from harness.records.standing import standings
from harness.site import api, drawn
from harness.site.sources import Sources

HERE = Path(__file__).parent


def build(
    root: Path, results: Path, out: Path, say: Callable[[str], None], packages: Sequence[str] = api.PACKAGES
) -> tuple[Path, list[str]]:
    """Writes the site into `out`/html. What did not change since the last time is not made again.

    Args:
        packages: those of the API reference.

    Returns:
        The start page, and what Sphinx warned of.

    Raises:
        UserError: the libraries of the site are not installed, or a card or record cannot be read.
    """
    try:
        from sphinx.application import Sphinx
        from sphinx.util.docutils import docutils_namespace, patch_docutils
    except ImportError:
        raise UserError("the site's libraries are missing: pip install -c constraints.txt -e '.[site]'") from None
    source = out / "source"
    say("reading cards and records")
    papers, floors = standings(root, Ledger(results / "runs")), read_floors(results)
    kept = CurveLedger(results / "curves")
    curves = {(key.recipe_hash, key.seed): curve for slug in kept.slugs() for key, curve in kept.read(slug).items()}
    pictures = {}
    for paper in papers:
        found = (drawn.of_paper(paper, floors), drawn.curves_of(paper), drawn.losses_of(paper, curves))
        pictures |= {picture.name: picture for picture in found if picture}
    for family in dict.fromkeys(paper.card.family for paper in papers):
        of = [paper for paper in papers if paper.card.family == family]
        pictures |= {p.name: p for p in [drawn.of_family(family, of, floors)] if p}
    pictures |= {p.name: p for p in [drawn.of_all(papers)] if p}
    say(f"drawing {len(pictures)} pictures; those that are there are kept")
    files = {}
    for picture in pictures.values():
        drawings = dict(picture.files(source / "figures"))
        _put(drawings)  # at once: a build that is stopped goes on from here
        files |= drawings
    pages = Sources(root, results, papers, floors, pictures)
    files |= {source / place: text for place, text in [*pages.pages(), *api.pages(packages), *_bundle()]}
    _write(source, files, {source / file: root / file for file in pages.links.files})
    say("making pages of them")
    warnings, html = io.StringIO(), out / "html"
    settings = {"html_static_path": [str(HERE / "static"), str(source / "_made")]}
    with patch_docutils(), docutils_namespace():
        sphinx = Sphinx(source, HERE, html, out / "state", "html", settings, None, warnings)
        sphinx.build()
    if sphinx.statuscode:
        raise UserError(f"Sphinx could not build the site: {warnings.getvalue()}")
    return html / "index.html", [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in split_lines(warnings.getvalue())]


def _write(source: Path, files: dict[Path, str], copied: dict[Path, Path]) -> None:
    """Writes what changed, so that Sphinx reads no more than that again, and removes what is of no page any more."""
    _put(files)
    for path, original in copied.items():
        if not path.is_file() or path.read_bytes() != original.read_bytes():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, path)
    for path in source.rglob("*"):
        if path.is_file() and path not in files and path not in copied:
            path.unlink()


def _put(files: dict[Path, str]) -> None:
    for path, text in files.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def _bundle() -> Iterator[tuple[str, str]]:
    """DataTables as itables ships it for use without a network, as a script that a page on the disk may load.

    A browser loads no module from a file, so its one export becomes a name of the window.
    """
    import itables

    folder = Path(itables.__file__).parent / "html"
    script = (folder / "dt_bundle.js").read_text(encoding="utf-8")
    found = re.findall(r"export\{[^}]*?(\w+) as default[^}]*\};", script)
    if len(found) != 1:
        raise UserError("this version of itables holds DataTables in another way; install that of constraints.txt")
    script = re.sub(r"export\{[^}]*\};", f"window.DataTable={found[0]};", script)
    yield "_made/tables/tables.js", f"(function(){{{script}\n}})();\n"
    yield "_made/tables/tables.css", (folder / "dt_bundle.css").read_text(encoding="utf-8")


def weigh(html: Path, page: str) -> int:
    """The bytes of a page with its scripts and styles, without pictures."""
    text = (html / page).read_text(encoding="utf-8")
    loaded = re.findall(r"<(?:script|link)\b[^>]*?\b(?:src|href)=\"([^\"#?]+\.(?:js|css))", text)
    return len(text.encode()) + sum(((html / page).parent / file).stat().st_size for file in set(loaded))


def complain(warnings: Sequence[str]) -> None:
    """Names what Sphinx warned of, the first lines of it."""
    for line in warnings[:20]:
        print(line, file=sys.stderr)
    if len(warnings) > 20:
        print(f"and {len(warnings) - 20} more lines", file=sys.stderr)
