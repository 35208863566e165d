"""What `papers report` writes: results/README.md, the figures, and the generated blocks of the READMEs.

Nothing here looks at the clock or the machine: the same cards and records give the same bytes.
"""

import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import jinja2

from common.errors import UserError
from common.experiments.card import Comparison, Published
from common.experiments.paired import Interval
from common.experiments.records import Record
from common.experiments.texts import NOTHING, with_interval
from common.experiments.verdict import ClaimResult, Verdict
from harness import citation, compare, figures
from harness.console import track
from harness.files import write_text
from harness.floors import read_floors
from harness.progress import duration
from harness.standing import Standing, tally


def block(name: str) -> re.Pattern[str]:
    """The generated block of a README: "<!-- name: anything -->" up to "<!-- /name -->"."""
    return re.compile(rf"(<!-- {name}\b[^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)


def fill(text: str, name: str, content: str) -> str | None:
    """`text` with its block replaced; None if it has no such block."""
    pattern = block(name)
    if not pattern.search(text):
        return None
    return pattern.sub(lambda match: f"{match[1]}\n{content.rstrip()}\n\n{match[2]}", text, count=1)


def outputs(root: Path, results: Path, papers: Sequence[Standing]) -> Iterator[tuple[Path, str]]:
    """Every file that `papers report` writes, with its content; figures come last since they take the longest."""
    yield from pages(root, results, papers)
    yield root / "CITATION.cff", citation.citation_file(root / "CITATION.cff", [paper.card for paper in papers])
    yield from drawings(results, papers)


def count(papers: Sequence[Standing]) -> int:
    """About how many files `outputs` yields, for a bar of progress."""
    return 4 + len(papers) + sum(bool(paper.records) for paper in papers)


def pages(root: Path, results: Path, papers: Sequence[Standing]) -> Iterator[tuple[Path, str]]:
    """results/README.md, each paper's README and the table on the front page."""
    yield results / "README.md", overview(results, papers)
    # A baseline without experiments has no results to show.
    yield from (page(paper, results) for paper in papers if paper.trials)
    front = root / "README.md"
    if front.is_file() and block("verdicts").search(front.read_text(encoding="utf-8")):
        shown = [paper for paper in papers if paper.records]
        yield front, _filled(front, "verdicts", counts(shown) if shown else "Nothing is on record yet.")


def page(paper: Standing, results: Path) -> tuple[Path, str]:
    """A paper's README, its block filled."""
    path = paper.card.folder / "README.md"
    figure = _link(results / "figures" / f"{paper.card.slug}.svg", paper.card.folder)
    return path, _filled(path, "results", _render("paper.md.j2", results, paper=paper, figure=figure))


def drawings(
    results: Path, papers: Sequence[Standing], only: Collection[str] | None = None
) -> Iterator[tuple[Path, str]]:
    """The forest plot and a figure for each paper that has records, or for those of the slugs `only`."""
    folder = results / "figures"
    shown = [paper for paper in papers if paper.records]
    if shown:
        rows = [row for paper in shown for row in differences(paper)]
        yield folder / "forest.svg", figures.render(figures.forest(rows), f"Differences of all claims\n{rows}")
    for paper in (paper for paper in shown if only is None or paper.card.slug in only):
        panels, checks = arms(paper), deviations(paper)
        drawn = figures.paper(panels, checks)
        yield folder / f"{paper.card.slug}.svg", figures.render(drawn, f"{paper.card.title}\n{panels}\n{checks}")


def write(root: Path, results: Path, papers: Sequence[Standing]) -> list[Path]:
    """Writes what changed and removes figures of papers that have no records any more; returns the changed files.

    Raises:
        UserError: a README has no place for its block, CITATION.cff has no head, or a file cannot be written.
    """
    files = dict(track(outputs(root, results, papers), "writing", count(papers)))
    changed = [path for path, text in files.items() if not agrees(path, text)]
    for path in changed:
        write_text(path, files[path])
    stale = [path for path in (results / "figures").glob("*.svg") if path not in files]
    for path in stale:
        path.unlink()
    return changed + stale


def write_results(results: Path, papers: Sequence[Standing], slugs: Collection[str]) -> Path:
    """Writes results/README.md, the forest plot and the figures of `slugs`, which were just run; returns the page."""
    page = results / "README.md"
    for path, text in [(page, overview(results, papers)), *drawings(results, papers, slugs)]:
        if not agrees(path, text):
            write_text(path, text)
    return page


def agrees(path: Path, text: str) -> bool:
    """Whether a file says what it should. Figures drawn by another matplotlib may differ in bytes."""
    try:
        there = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return figures.same_figure(there, text) if path.suffix == ".svg" else there == text


def overview(results: Path, papers: Sequence[Standing]) -> str:
    """The text of results/README.md."""
    shown = [paper for paper in papers if paper.records]
    ranked = compare.rankings(shown, read_floors(results))
    return _render("results.md.j2", results, papers=shown, counts=counts(shown) if shown else "", rankings=ranked)


def counts(papers: Sequence[Standing]) -> str:
    """The table of verdicts by family."""
    found = tally(papers)
    return _render("counts.md.j2", Path(), papers=papers, tally=tally, verdicts=[v for v in Verdict if found[v]])


def differences(paper: Standing) -> list[figures.Difference]:
    """The rows of the forest plot, turned so that the claimed side is positive."""
    rows = []
    for trial in paper.trials:
        for result in trial.results:
            if isinstance(result, ClaimResult) and result.difference is not None:
                labels = trial.experiment.arms
                label = f"{labels[result.claim.method].label} vs {labels[result.claim.baseline].label}"
                towards = result.difference if result.claim.better == "higher" else _negated(result.difference)
                name = f"{paper.card.slug}: {label}"
                rows.append(figures.Difference(name, result.claim.metric, towards, str(result.verdict)))
    return rows


def arms(paper: Standing) -> dict[str, list[figures.Arm]]:
    """The panels of a paper's figure: the arms of each comparison by each claimed metric."""
    panels = {}
    for trial in paper.trials:
        if isinstance(trial.experiment, Comparison):
            for metric in trial.experiment.metrics:
                panel = [
                    figures.Arm(arm.label, tuple(trial.values(arm.name, metric)), estimate)
                    for arm in trial.experiment.arms.values()
                    if (estimate := trial.arm(arm.name, metric)) is not None
                ]
                if panel:
                    panels[f"{trial.experiment.name}, {trial.recipe}: {metric}"] = panel
    return panels


def deviations(paper: Standing) -> list[figures.Check]:
    """The checked properties of a paper's figure."""
    return [
        figures.Check(trial.experiment.name, tuple(trial.values(trial.experiment.name, "deviation")), tolerance)
        for trial in paper.trials
        if trial.records and (tolerance := getattr(trial.experiment, "tolerance", None)) is not None
    ]


def _negated(value: Interval) -> Interval:
    low = None if value.high is None else -value.high
    high = None if value.low is None else -value.low
    return dataclasses.replace(value, mean=-value.mean, low=low, high=high)


def _filled(page: Path, name: str, content: str) -> str:
    try:
        text = fill(page.read_text(encoding="utf-8"), name, content)
    except OSError as error:
        raise UserError(f"{page}: cannot be read: {error.strerror}") from None
    if text is None:
        raise UserError(f"{page}: has no block for the results; add the lines <!-- {name} --> and <!-- /{name} -->")
    return text


def _link(target: Path, folder: Path) -> str:
    return Path(os.path.relpath(target, folder)).as_posix()


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _published(row: Published | None) -> str:
    if row is None:
        return NOTHING
    against = f" vs {row.baseline_value:g}" if row.baseline_value is not None else ""
    source = f"[{row.source}]({row.url})" if row.url else row.source
    return _cell(f"{row.value:g}{against} {row.metric}, {row.dataset} ({source})")


def _cost(records: Sequence[Record]) -> str:
    """What the runs took, and when and from which state of the code the last one was recorded."""
    last = max(records, key=lambda record: record.finished)
    dirty = " with local changes" if last.git_dirty else ""
    took = duration(sum(record.seconds for record in records))
    runs = f"{len(records)} run{'s' if len(records) != 1 else ''}"
    return f"{runs}, {took} on {last.device}; {last.finished[:10]}, commit {last.git_commit[:8]}{dirty}"


def _render(template: str, results: Path, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, from cards that are part of the repository
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cell": _cell,
        "estimate": with_interval,
        "signed": lambda value: with_interval(value, sign=True),
        "published": _published,
        "cost": _cost,
        "duration": duration,
        "folder": lambda paper: _link(paper.card.folder, results),
    }
    text = environment.get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
