"""What each command of `papers` does. Each takes the parsed options, `root` (the repository) among them."""

import argparse
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger
from common.experiments.schema import closest
from common.experiments.texts import with_interval
from common.experiments.verdict import Verdict
from common.paths import as_path
from harness.cli.places import kept_in, logs_of, needs_checkout, results_of
from harness.cli.rerun import rerun, say_doubts, tune
from harness.cli.sources import print_sources
from harness.console import print_json, print_table, say, shown_path
from harness.files import write_text
from harness.recipes import catalog
from harness.recipes.arms import check_arms
from harness.records.metric_names import names_of
from harness.records.standing import Standing, standing, standings

__all__ = ["rerun", "tune"]  # commands like those below, in a file of their own

if TYPE_CHECKING:
    from common.benchmark import Benchmark
    from harness.pages.compare import Ranking, Row


def _standings(given: argparse.Namespace, whole: bool = False) -> list[Standing]:
    """Where the papers stand, after a remark on each line of the records that cannot be read.

    Args:
        whole: raise UserError at the first faulty card, for what is written over all papers; otherwise it is named and
            left out.
    """
    ledger = Ledger(results_of(given) / "runs")
    if whole:
        papers = standings(given.root, ledger)
    else:
        papers = []
        cards, faults = catalog.readable_cards(given.root)
        for card in cards:
            try:
                papers.append(standing(card, ledger))
            except UserError as error:  # of a recipe or of the records
                faults.append(str(error))
        for fault in faults:
            say(f"left out: {fault}")
    for paper in papers:
        for warning in paper.warnings:
            say(warning)
    return papers


def list_papers(given: argparse.Namespace) -> None:
    """Papers with their verdicts, or bare names for shells."""
    filtered = given.verdict or given.benchmark or given.modality or given.words
    if given.names and not (filtered or given.by in ("benchmark", "metric")):
        # Completion asks for this at every press of Tab: folders tell it, no card is read.
        folders = [path.parent for path in catalog.found(given.root)]
        folders = [folder for folder in folders if given.family in (None, folder.parent.name)]
        names = dict.fromkeys(folder.name if given.by == "slug" else folder.parent.name for folder in folders)
        print(*names, sep="\n")
        return
    papers = _standings(given)
    for option, values in (
        ("family", {paper.card.family for paper in papers}),
        ("verdict", {str(verdict) for verdict in Verdict}),
        ("modality", {modality for paper in papers for modality in paper.card.modalities}),
        ("benchmark", {name for paper in papers for name in paper.benchmarks}),
    ):
        value = getattr(given, option)
        if value is not None and value not in values:
            known = ", ".join(sorted(values)) or "none"
            raise UserError(f"unknown {option} '{value}'{closest(value, values)}; there are: {known}")
    chosen = [
        paper
        for paper in papers
        if given.family in (None, paper.card.family)
        and (given.verdict is None or given.verdict in paper.verdicts)
        and given.modality in (None, *paper.card.modalities)
        and _says(paper.card, given.words)
        and (given.benchmark is None or given.benchmark in paper.benchmarks)
    ]
    if given.names:
        if given.by == "metric":
            if given.benchmark is None:
                raise UserError("--by metric needs --benchmark NAME, whose metrics are listed")
            print(*sorted(names_of(given.benchmark, results_of(given))), sep="\n")
            return
        of = {"slug": lambda p: [p.card.slug], "family": lambda p: [p.card.family], "benchmark": lambda p: p.benchmarks}
        print(*dict.fromkeys(name for paper in chosen for name in of[given.by](paper)), sep="\n")
        return
    from harness.cli.show import listed, print_papers

    if given.json:
        print_json([listed(paper) for paper in chosen])
    else:
        print_papers(chosen)


def _says(card: Card, words: Sequence[str]) -> bool:
    """Whether name, title, idea and authors hold all of the words."""
    text = " ".join([card.slug, card.title, card.idea, *card.authors]).casefold()
    return all(word.casefold() in text for word in words)


def show_paper(given: argparse.Namespace) -> None:
    """A paper's card beside its records, or bare names for shells."""
    card = catalog.find(given.slug, given.root)
    if given.names is not None:
        recipes = sorted(path.stem for path in card.folder.glob("*.yaml") if path.name != "paper.yaml")
        print(*([one.name for one in card.experiments] if given.names == "experiment" else recipes), sep="\n")
        return
    from harness.cli.show import print_paper

    for experiment in card.experiments:
        if isinstance(experiment, Comparison):
            check_arms(card, experiment)
            say_doubts(card, experiment, results_of(given))
    paper = standing(card, Ledger(results_of(given) / "runs"))
    print_paper(paper, results_of(given))
    if given.open:
        _open(given, f"papers/{card.family}/{card.slug}.html", card.folder / "README.md")
    for warning in paper.warnings:
        say(warning)


def _open(given: argparse.Namespace, page: str, otherwise: Path) -> None:
    """Opens a page of the site, where `make site` has built it, or a file, in the browser."""
    import webbrowser

    built = given.root / "build/site/html" / page
    path = built if built.is_file() else otherwise
    if not webbrowser.open(path.resolve().as_uri()):
        raise UserError(f"no browser was found; the page is {shown_path(path)}")


def lightning(given: argparse.Namespace) -> None:
    """LightningCLI on a recipe of the paper, once the options have been looked at without loading it."""
    from harness.recipes.early import needs_checkpoint
    from harness.recipes.options import OF_FIT, check_options, parsed, print_help, recipe_named, spelled_out

    card = catalog.find(given.slug, given.root)
    given.overrides = spelled_out(recipe_named(given.overrides))
    if {"--help", "-h"} & set(given.overrides):
        print_help(card, given.command, given.overrides)
        return
    check_options(card, given.overrides)
    keys = {option.key for option in parsed(given.overrides)}
    if given.command != "fit" and keys & OF_FIT:
        raise UserError(f"--{min(keys & OF_FIT)} is for papers fit")
    if {"resume", "ckpt_path"} <= keys:
        raise UserError("--resume and --ckpt_path exclude each other")
    if given.command != "fit" and not {"ckpt_path", "untrained", "init_from", "print_config", "config", "c"} & keys:
        raise needs_checkpoint(given.command, card.slug)
    from harness.fitting.fit import run_subcommand  # loads torch

    run_subcommand(card, given.command, given.overrides)


def embed(given: argparse.Namespace) -> None:
    """A file of vectors."""
    from harness.cli.takeaway import embed

    embed(given, catalog.find(given.slug, given.root))


def export(given: argparse.Namespace) -> None:
    """A folder with a trained method."""
    from harness.cli.takeaway import export

    export(given, catalog.find(given.slug, given.root))


def compare(given: argparse.Namespace) -> None:
    """The rankings on one benchmark, or on the user's own data."""
    if given.data is not None:
        from harness.cli.own_data import compare_own

        return compare_own(given)
    if given.plot is not None and not given.plot.endswith(".svg"):
        raise UserError(f"--plot is '{given.plot}'; it must be the name of an SVG, as ranking.svg")
    from harness.pages.compare import rankings
    from harness.records.measured_floors import floor_of, measure_floors

    papers = _standings(given)
    concerned = [paper for paper in papers if any(r.benchmark == given.benchmark for r in paper.records)]
    if concerned:
        rankings(concerned, [], given.benchmark, given.metric)  # an unknown metric shows before floors are computed
        floors = measure_floors(concerned, results_of(given), say, given.benchmark)
    else:
        floors = [floor_of(_ready(given, papers), kept_in(given))]
    tables = rankings(concerned, floors, given.benchmark, given.metric)
    if given.equal_budget:
        tables = [table.at_equal_budget() for table in tables]
    if given.plot is not None:
        write_text(Path.cwd() / as_path(given.plot, "--plot"), _drawn(tables))
        say(f"drawn: {given.plot}")
    if given.json:
        print_json([_ranked(table, row) for table in tables for row in table.rows])
        return
    for table in tables:
        rows = [
            (
                str(row.rank or ""),
                row.may_be,
                row.label,
                row.slug or "floor",
                with_interval(row.estimate),
                str(row.estimate.n) if row.slug else "",
            )
            for row in table.rows
        ]
        columns = ("rank", "may be", "method", "paper", "mean [95% interval]", "seeds")
        print_table(columns, rows, f"{table.title}: {table.metric}")
        if table.given:
            print(f"{table.given}\n")
    waiting = [p.card.slug for p in papers if given.benchmark in p.benchmarks and p not in concerned]
    if waiting:
        say(f"not on record yet: {' '.join(waiting)}")


def _ranked(table: "Ranking", row: "Row") -> dict[str, object]:
    kept = ("label", "rank", "ranks", "slug", "budget", "steps", "seconds", "values")
    of_row = {name: getattr(row, name) for name in kept} if row.slug else {"label": row.label}
    estimate = {name: getattr(row.estimate, name) for name in ("mean", "low", "high")}
    return {"benchmark": table.title, "metric": table.metric, "data_hash": table.data_hash} | of_row | estimate


def _drawn(tables: Sequence["Ranking"]) -> str:
    """An SVG of a dot for each seed of each method, best first, and of what needs no learning."""
    from harness.pages import figures

    panels: dict[str, Sequence[figures.Arm]] = {
        f"{table.title}: {table.metric}": [
            figures.Arm(row.label, tuple(row.values.values()) or (row.estimate.mean,), row.estimate)
            for row in table.rows
        ]
        for table in tables
    }
    return figures.render(figures.paper(panels, [], []), f"{', '.join(panels)}\n{panels}")


def _ready(given: argparse.Namespace, papers: list[Standing]) -> "Benchmark":
    """The benchmark of that name, although nothing is on record for it."""
    shared = catalog.shared_benchmarks()
    names = sorted({*shared, *(name for paper in papers for name in paper.benchmarks)})
    if given.benchmark not in names:
        hint = closest(given.benchmark, names)
        raise UserError(f"unknown benchmark '{given.benchmark}'{hint}; there are: {', '.join(names) or 'none'}")
    if given.benchmark not in shared:
        slugs = " ".join(paper.card.slug for paper in papers if given.benchmark in paper.benchmarks)
        raise UserError(f"nothing is on record for the benchmark '{given.benchmark}'; run: papers rerun {slugs}")
    say(f"nothing is on record for {given.benchmark} yet; computing what needs no learning")
    catalog.importable(given.root)
    from data.benchmarks import catalog as benchmarks  # loads torch

    benchmark = benchmarks()[given.benchmark]()
    benchmark.prepare_data()
    benchmark.setup("test")
    return benchmark


def report(given: argparse.Namespace) -> None:
    """Writes all generated files, or those of some papers or of a family."""
    needs_checkout(given)
    from harness.pages.report import write
    from harness.records.measured_floors import measure_floors

    papers = _standings(given, whole=True)
    for slug in given.slugs:
        catalog.find(slug, given.root)
    chosen = [p for p in papers if p.card.slug in given.slugs or given.family == p.card.family]
    if given.family and not chosen:
        families = sorted({paper.card.family for paper in papers})
        raise UserError(
            f"unknown family '{given.family}'{closest(given.family, families)}; there are: {', '.join(families)}"
        )
    measure_floors(chosen or papers, results_of(given), say)
    papers = standings(given.root, Ledger(results_of(given) / "runs"))
    changed = write(given.root, results_of(given), papers, given.slugs or None, given.family)
    concerned = {paper.card.slug for paper in chosen or papers}
    for paper in papers:
        for fault in paper.faults if paper.card.slug in concerned else ():
            say(fault)
    print(*(shown_path(path) for path in changed), sep="\n") if changed else print("everything was up to date")
    if given.open:
        _open(given, "index.html", results_of(given) / "README.md")


def verify(given: argparse.Namespace) -> int:
    """Names what differs; 1 if anything does."""
    from harness.audit.verify import differences

    cards = [catalog.find(slug, given.root) for slug in given.slugs]
    found, well = (
        differences(given.root, results_of(given), given.slugs),
        "cards, recipes, records, tables and figures agree",
    )
    if given.canary or given.rerun:
        cards = cards or catalog.cards(given.root)
        found, well = (_stale(given, cards), "no record is stale") if given.canary else _trained_again(given, cards)
    count = 0
    for line in found:
        print(line, flush=True)
        count += 1
    print(f"{count} found" if count else well)
    return 1 if count else 0


def _stale(given: argparse.Namespace, cards: list[Card]) -> Iterator[str]:
    from harness.records import canary

    ledger = Ledger(results_of(given) / "runs")
    # A mark stands beside the records; those of an installed package are not ours to mark.
    look = canary.findings if kept_in(given) != results_of(given) else canary.mark
    for card in cards:
        for finding in look(card, ledger):
            if finding.deviation is not None:
                yield str(finding)


def _trained_again(given: argparse.Namespace, cards: list[Card]) -> tuple[Iterator[str], str]:
    from harness.audit import spot
    from harness.running.runner import cores

    ledger = Ledger(results_of(given) / "runs")
    seed = given.seed if given.seed is not None else int(f"{datetime.date.today():%Y%m%d}")
    chosen = spot.choose(cards, ledger, given.rerun, seed)
    say(f"chosen by {seed}: {', '.join(run.name for run, _ in chosen) or 'nothing is on record'}")
    lines = spot.differences(chosen, ledger, given.workers or cores(), logs_of(given) / "again")
    return lines, f"{len(chosen)} runs give what is on record"


def migrate(given: argparse.Namespace) -> None:
    """Old hashes become today's where a checkout of their time knows them."""
    if given.results is None:
        needs_checkout(given)
    from harness.audit.migrate import migrate as bring_up

    checkout = Path(given.checkout)
    if not checkout.is_dir():
        raise UserError(f"--from is '{given.checkout}', which is no folder; it must be a checkout of the time")
    found = bring_up(results_of(given), checkout)
    for one in found:
        left = f", {one.left} unknown to {checkout}" if one.left else ""
        print(f"{one.paper}: {one.migrated} records migrated{left}")
    if not found:
        print("no record is of an older scheme")


def new(given: argparse.Namespace) -> None:
    """A new paper's folder."""
    needs_checkout(given)
    from harness.scaffold.scaffold import check_slug, new_paper, next_steps

    like = catalog.find(given.like, given.root)
    check_slug(given.slug, {path.parent.name for path in catalog.found(given.root)})
    folder = shown_path(new_paper(like, given.slug, given.family or like.family))
    print(f"{folder} runs as it is, and does so far what {like.slug} does. Next:")
    print(*(f"  {step}" for step in next_steps(given.slug, folder)), sep="\n")


def schema(given: argparse.Namespace) -> None:
    """Every field that a paper's author may write."""
    from harness.recipes.schema_page import schema

    print(*schema(), sep="\n")


def data(given: argparse.Namespace) -> None:
    """The catalogue of sources, their download, or the page of benchmarks."""
    from data import sources

    if given.action == "fetch":
        if bool(given.sources) == given.all:
            raise UserError("papers data fetch takes names of sources, or --all; `papers data list` shows them")
        sources.fetch(given.sources or None, progress=say)
        return
    if given.sources or given.all:
        raise UserError(f"papers data {given.action} takes no names; `papers data fetch NAME` fetches one")
    if given.action == "page":
        needs_checkout(given)
        from harness.pages.benchmarks_page import write  # loads torch

        write(given.root, _standings(given, whole=True), say)
        return
    known = sources.catalog()
    if given.names:
        print(*known, sep="\n")
        return
    if given.json:
        fields = ("name", "size", "fetched", "client", "package", "version", "licence", "title")
        print_json([{field: getattr(source, field) for field in fields} for source in known.values()])
        return
    print_sources(list(known.values()))
