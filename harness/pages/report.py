"""What `papers report` writes: pages and figures of papers, of families and of all, and blocks of the READMEs.

Nothing here looks at the clock or the machine: the same cards and records give the same bytes.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import jinja2

from common.errors import UserError
from common.experiments.card import Comparison, Published
from common.experiments.paired import Interval, false_discovery_rates
from common.experiments.records import Record
from common.experiments.texts import NOTHING, deviation, duration, number, probability, with_interval, with_spread
from common.experiments.verdict import ClaimResult, PropertyResult, Verdict
from common.lines import read_text
from harness.console import track
from harness.files import write_text
from harness.pages import citation, claim_text, compare, curves, figures
from harness.recipes.survey import Surveyed, survey
from harness.records.floors import read_floors
from harness.records.standing import Standing, Trial, tally, tally_primary, verdict_words


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
    """Every file that `papers report` writes, with its content."""
    yield from shared_files(root, results, papers)
    for family in dict.fromkeys(paper.card.family for paper in papers):
        yield from family_files(root, results, family, papers)
    for paper in papers:
        yield from paper_files(paper, results)


def count(papers: Sequence[Standing]) -> int:
    """About how many files `outputs` yields, for a bar of progress."""
    families = {paper.card.family for paper in papers if paper.records}
    return 4 + 2 * len(families) + sum(bool(paper.trials) + bool(paper.records) for paper in papers)


def paper_files(paper: Standing, results: Path) -> Iterator[tuple[Path, str]]:
    """What is made of one paper alone: the block of its README and its figure."""
    if paper.trials:  # a baseline without experiments has no results to show
        yield page(paper, results)
    yield from figure(paper, results)


def figure(paper: Standing, results: Path) -> Iterator[tuple[Path, str]]:
    """A paper's figure and its curves, if anything is on record."""
    if paper.records:
        panels, rows, checks = arms(paper), differences(paper), deviations(paper)
        drawn = figures.paper(panels, rows, checks)
        text = figures.render(drawn, f"{paper.card.title}\n{panels}\n{rows}\n{checks}")
        yield results / "figures" / f"{paper.card.slug}.svg", text
    if plots := curves.plots(paper):
        text = figures.render(figures.curves(plots), f"{paper.card.title}\n{plots}")
        yield _curves_file(paper, results), text


def _curves_file(paper: Standing, results: Path) -> Path:
    return results / "figures" / f"{paper.card.slug}.curves.svg"


def family_files(root: Path, results: Path, family: str, papers: Sequence[Standing]) -> Iterator[tuple[Path, str]]:
    """A family's page with every claim of its papers, and its forest plot."""
    members = [paper for paper in papers if paper.card.family == family and paper.records]
    if not members:
        return
    folder = results / "families"
    rows = [row for paper in members for row in differences(paper, named=True)]
    yield (
        folder / f"{family}.md",
        _render("family.md.j2", root, folder, family=family, papers=members, has_figure=bool(rows)),
    )
    if rows:
        text = figures.render(figures.forest(rows), f"Differences of all claims of {family}\n{rows}")
        yield folder / f"{family}.svg", text


def shared_files(root: Path, results: Path, papers: Sequence[Standing]) -> Iterator[tuple[Path, str]]:
    """What is made of all papers together, so that no paper's branch writes it: totals, rankings, CITATION.cff."""
    shown = [paper for paper in papers if paper.records]
    yield (
        results / "README.md",
        _render(
            "results.md.j2",
            root,
            results,
            papers=shown,
            central=central(shown, results),
            primaries=counts(shown, tally_primary),
            counts=counts(shown, tally),
        ),
    )
    if ranked := compare.rankings(shown, read_floors(results)):
        yield results / "benchmarks.md", _render("rankings.md.j2", root, results, rankings=ranked)
    missing = not_yet(root, shown)
    verdicts = {
        family: [str(paper.primary[1].verdict) for paper in shown if paper.card.family == family and paper.primary]
        for family in sorted({paper.card.family for paper in shown} | {one.family for one in missing})
    }
    left = Counter(one.family for one in missing)
    text = figures.render(figures.overview(verdicts, left), f"Where the central claims stand\n{verdicts}\n{left}")
    yield results / "overview.svg", text
    front = root / "README.md"
    if front.is_file() and block("verdicts").search(read_text(front)):
        filled = _filled(front, "verdicts", _totals(shown) if shown else "Nothing is on record yet.")
        yield front, fill(filled, "papers", _render("front.md.j2", root, root, **_front(shown, missing))) or filled
    yield root / "CITATION.cff", citation.citation_file(root / "CITATION.cff", [paper.card for paper in papers])


def not_yet(root: Path, papers: Sequence[Standing]) -> list[Surveyed]:
    """What of the survey has no record: a paper that is begun changes no page of others."""
    here = {paper.card.slug for paper in papers}
    return [one for one in survey(root) if one.slug not in here]


def _front(papers: Sequence[Standing], missing: Sequence[Surveyed]) -> dict[str, object]:
    surveyed = [paper for paper in papers if paper.card.surveyed]
    return {
        "papers": surveyed,
        "baselines": [paper for paper in papers if paper not in surveyed],
        "missing": missing,
    }


def page(paper: Standing, results: Path) -> tuple[Path, str]:
    """A paper's README, its block filled."""
    folder = paper.card.folder
    drawn = _link(results / "figures" / f"{paper.card.slug}.svg", folder)
    lines = _link(_curves_file(paper, results), folder) if curves.plots(paper) else None
    text = _render("paper.md.j2", paper.card.root, folder, paper=paper, figure=drawn, curves=lines)
    return folder / "README.md", _filled(folder / "README.md", "results", text)


def write(
    root: Path,
    results: Path,
    papers: Sequence[Standing],
    slugs: Collection[str] | None = None,
    family: str | None = None,
) -> list[Path]:
    """Writes what changed and returns it.

    Args:
        slugs: only what is made of each of these papers alone.
        family: only what is made of this family and of its papers.

    Without either, everything is written, and pages and figures that no records belong to any more are removed.

    Raises:
        UserError: a README has no place for its block, CITATION.cff has no head, or a file cannot be written.
    """
    if slugs is not None:
        chosen = [file for paper in papers if paper.card.slug in slugs for file in paper_files(paper, results)]
    elif family is not None:
        chosen = [*family_files(root, results, family, papers)]
        chosen += [file for paper in papers if paper.card.family == family for file in paper_files(paper, results)]
    else:
        chosen = track(outputs(root, results, papers), "writing", count(papers))
    files = dict(chosen)
    changed = write_files(files.items())
    stale = [path for path in generated(results) if path not in files] if slugs is None and family is None else []
    for path in stale:
        path.unlink()
    return changed + stale


def write_files(files: Iterable[tuple[Path, str]]) -> list[Path]:
    """Writes the files that do not say what they should, and returns them."""
    changed = [(path, text) for path, text in files if not agrees(path, text)]
    for path, text in changed:
        write_text(path, text)
    return [path for path, _ in changed]


def generated(results: Path) -> list[Path]:
    """The pages and figures of papers and families that are there."""
    return sorted([*results.glob("figures/*.svg"), *results.glob("families/*")])


def agrees(path: Path, text: str) -> bool:
    """Whether a file says what it should. Figures drawn by another matplotlib may differ in bytes."""
    try:
        there = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return figures.same_figure(there, text) if path.suffix == ".svg" else there == text


def counts(papers: Sequence[Standing], tally: Callable[[Iterable[Standing]], Counter[Verdict]]) -> str:
    """A table of verdicts by family."""
    found = tally(papers)
    return _render(
        "counts.md.j2", Path(), Path(), papers=papers, tally=tally, verdicts=[v for v in Verdict if found[v]]
    )


def _totals(papers: Sequence[Standing]) -> str:
    """The table of the front page, central claims alone, and the others in a sentence."""
    others = tally(papers) - tally_primary(papers)
    sentence = f"\nThe papers' other claims and properties: {verdict_words(others)}." if others else ""
    return counts(papers, tally_primary) + sentence


def central(papers: Sequence[Standing], results: Path) -> list[list[str]]:
    """The cells of the table of central claims, q among them."""
    found = [(paper, paper.primary[1]) for paper in papers if paper.primary]
    q = discovery_rates(papers)
    rows = []
    for paper, result in found:
        cells = [f"[{paper.card.slug}]({_link(paper.card.folder, results)})"]
        if isinstance(result, ClaimResult):
            below = ", lower is better" if result.claim.better == "lower" else ""
            cells.append(f"{result.claim.text} (`{result.claim.metric}`{below})")
            cells += [str(len(result.seeds)), with_interval(result.difference, sign=True)]
            cells += [
                NOTHING if x is None else number(x) for x in (result.margin, result.detectable, result.item_error)
            ]
        else:
            cells += [result.experiment.claim, str(len(result.seeds))]
            tolerance = result.experiment.tolerance
            worst = result.deviation
            said = f"{NOTHING} of {tolerance:.2g}" if worst is None else deviation(worst, tolerance)
            cells += [f"{said} allowed", *[NOTHING] * 3]
        cells += [f"**{result.verdict}**", probability(q[slug]) if (slug := paper.card.slug) in q else NOTHING]
        rows.append([_cell(cell) for cell in cells])
    return rows


def discovery_rates(papers: Sequence[Standing]) -> dict[str, float]:
    """The q of each central claim that was tested, by the paper's slug."""
    found = [(paper.card.slug, paper.primary[1]) for paper in papers if paper.primary]
    p = {slug: r.corrected_p for slug, r in found if isinstance(r, ClaimResult) and r.is_tested}
    rates = false_discovery_rates([value for value in p.values() if value is not None])
    return dict(zip(p, rates, strict=True))


def grouped(paper: Standing, group: str) -> list[tuple[Trial, ClaimResult | PropertyResult]]:
    """The claims of a paper that are "primary", "secondary" or a "control", in the order of the card."""
    pairs = [(trial, result) for trial in paper.trials for result in trial.results]
    kind = {True: "primary", False: "secondary"}
    return [(trial, r) for trial, r in pairs if group == ("control" if r.control else kind[r.primary])]


def opposing(paper: Standing) -> dict[str, Interval]:
    """The metrics in which the central comparison goes the other way."""
    if paper.primary is None or not isinstance(paper.primary[1], ClaimResult):
        return {}
    trial, result = paper.primary
    return trial.opposing(result)


def differences(paper: Standing, named: bool = False) -> list[figures.Difference]:
    """The rows of a forest plot, turned so that the claimed side is positive.

    Args:
        named: by paper and, where it has several, experiment, for a plot of several papers; otherwise by experiment.
    """
    rows = []
    several = sum(trial.is_comparison for trial in paper.trials) > 1
    for trial in paper.trials:
        name = f"{paper.card.slug}/{trial.experiment.name}" if several else paper.card.slug
        for result in trial.results:
            if isinstance(result, ClaimResult) and result.difference is not None:
                claim = result.claim
                label = f"{trial.label(claim.method)} vs {trial.label(claim.baseline)}"
                label = f"{name}: {label}" if named else label
                label += " (primary)" if claim.primary else " (our control)" if claim.control else ""
                panel = claim.metric if named else f"{trial.experiment.name}, {trial.recipe}: {claim.metric}"
                towards, values = turned(trial, result)
                rows.append(figures.Difference(label, panel, towards, values, str(result.verdict), result.margin))
    return rows


def turned(trial: Trial, result: ClaimResult) -> tuple[Interval, tuple[float, ...]]:
    """The difference of a claim that has one, and that of each pair of seeds, positive on the claimed side."""
    assert result.difference is not None
    values = trial.pairs(result)
    if result.claim.better == "lower":
        return _negated(result.difference), tuple(-value for value in values)
    return result.difference, tuple(values)


def arms(paper: Standing) -> dict[str, list[figures.Arm]]:
    """The panels of a paper's figure: the arms of each comparison by each claimed metric."""
    panels = {}
    for trial in paper.trials:
        if isinstance(trial.experiment, Comparison):
            for metric in trial.experiment.metrics:
                panel = [
                    figures.Arm(trial.label(arm.name), tuple(trial.values(arm.name, metric)), estimate)
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
    text = fill(read_text(page), name, content)
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


def _render(template: str, root: Path, folder: Path, **values: object) -> str:
    """The text of a page that lies in `folder`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, from cards that are part of the repository
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cell": _cell,
        "line": lambda text: " ".join(text.split()),
        "signed": lambda value: with_interval(value, sign=True),
        "spread": with_spread,
        "published": _published,
        "cost": _cost,
        "duration": duration,
        "group": grouped,
        "opposing": opposing,
        "folder": lambda paper: _link(paper.card.folder, folder),
    }
    environment.globals |= {
        "title": claim_text.title,
        "lines": claim_text.lines,
        "rule": _link(root / "docs/guides/evidence.md", folder) + "#the-rule",
    }
    text = environment.get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
