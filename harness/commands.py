"""What each command of `papers` does. Each takes the parsed options, `root` (the repository) among them."""

import argparse
import datetime
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger
from common.experiments.schema import closest
from common.experiments.texts import with_interval
from common.experiments.verdict import Verdict
from common.paths import as_path
from harness import catalog
from harness.arms import check_arms
from harness.console import print_table, say, shown_path
from harness.metric_names import doubtful_metrics
from harness.standing import Standing, standing, standings
from harness.written import full_recipes

if TYPE_CHECKING:
    from common.benchmark import Benchmark
    from harness.plan import Plan


def _results(given: argparse.Namespace) -> Path:
    option = getattr(given, "results", None)
    return given.root / "results" if option is None else Path.cwd() / as_path(option, "--results")


def _logs(given: argparse.Namespace) -> Path:
    return given.root / "logs" if given.results is None else _results(given) / "logs"


def _standings(given: argparse.Namespace, whole: bool = False) -> list[Standing]:
    """Where the papers stand, after a remark on each line of the records that cannot be read.

    Args:
        whole: raise UserError at the first faulty card, for what is written over all papers; otherwise it is named and
            left out.
    """
    ledger = Ledger(_results(given) / "runs")
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
    if given.names and not (given.verdict or given.benchmark or given.by == "benchmark"):
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
        and (given.benchmark is None or given.benchmark in paper.benchmarks)
    ]
    if given.names:
        of = {"slug": lambda p: [p.card.slug], "family": lambda p: [p.card.family], "benchmark": lambda p: p.benchmarks}
        print(*dict.fromkeys(name for paper in chosen for name in of[given.by](paper)), sep="\n")
        return
    from harness.show import print_papers

    print_papers(chosen)


def show_paper(given: argparse.Namespace) -> None:
    """A paper's card beside its records."""
    from harness.show import print_paper

    card = catalog.find(given.slug, given.root)
    for experiment in card.experiments:
        if isinstance(experiment, Comparison):
            check_arms(card, experiment)
            _say_doubts(card, experiment, _results(given))
    paper = standing(card, Ledger(_results(given) / "runs"))
    print_paper(paper, _results(given))
    for warning in paper.warnings:
        say(warning)


def _say_doubts(card: Card, experiment: Comparison, results: Path) -> None:
    for line in doubtful_metrics(card, experiment, results):
        say(line)


def rerun(given: argparse.Namespace) -> int:
    """Runs what is not on record, then prints the verdicts and where table and figures lie."""
    cards = [catalog.find(slug, given.root) for slug in dict.fromkeys(given.slugs)]
    ledger = Ledger(_results(given) / "runs")
    for card in cards:
        if not card.experiments:
            raise UserError(f"{card.slug} has no experiments of its own; those of other papers train it")
        if not given.dry_run:
            ledger.check_writable(card.slug)
    jobs = _full_jobs(given, cards) if given.recipe == "full" else _mini_jobs(given, cards)
    from harness import looks
    from harness.runner import cores

    workers = given.workers or cores()
    for card in cards:
        for experiment in card.experiments:
            if isinstance(experiment, Comparison) and given.experiment in (None, experiment.name):
                # What is on record of a benchmark stands in the repository, whatever folder the new records go to.
                _say_doubts(card, experiment, given.root / "results")
    if given.dry_run or given.recipe == "full":
        for of, options in jobs:
            for planned in looks.plans(of, ledger, **options, seeds=given.seeds, fetch=False):
                _describe(given, planned, workers)
    if given.dry_run:
        return 0
    logs = _logs(given)
    for of, options in jobs:
        code = looks.rerun(of, ledger, **options, seeds=given.seeds, workers=workers, logs=logs)
        if code > 128:  # a signal wants the end now; the same command goes on and concludes
            return code
        if code:
            break
    _conclude(given, cards, ledger)
    return code


def _describe(given: argparse.Namespace, planned: "Plan", workers: int) -> None:
    for warning in planned.warnings:
        say(warning)
    print(*planned.describe(workers), sep="\n", flush=True)
    if given.recipe == "full":
        from harness.cost import cost

        print(*cost(planned.runs), sep="\n", flush=True)


def _mini_jobs(given: argparse.Namespace, cards: list[Card]) -> list[tuple[list[Card], dict[str, Any]]]:
    """The cards, and what `looks` is to be told of their experiments."""
    for option in ("data_root", "devices", "accelerator", "precision"):
        if getattr(given, option) is not None:
            raise UserError(
                f"--{option.replace('_', '-')} is for --recipe full; a mini recipe is run as it is recorded"
            )
    return [(cards, {"experiments": None if given.experiment is None else [given.experiment]})]


def _full_jobs(given: argparse.Namespace, cards: list[Card]) -> list[tuple[list[Card], dict[str, Any]]]:
    """As `_mini_jobs`, a job for each full recipe of each card."""
    trainer = {key: getattr(given, key) for key in ("devices", "accelerator", "precision")}
    trainer = {key: value for key, value in trainer.items() if value is not None}
    overrides: dict[str, Any] = {"trainer": trainer} if trainer else {}
    if given.data_root is not None:
        overrides["data"] = {"init_args": {"data_root": str(as_path(given.data_root, "--data-root"))}}
    jobs = []
    for card in cards:
        files = full_recipes(card, given.experiment)
        told = {name for names in files.values() for name in names}
        for experiment in card.experiments:
            if isinstance(experiment, Comparison) and experiment.name not in told and given.experiment is None:
                say(f"{card.slug}/{experiment.name} has no full recipe, so it is left out")
        jobs += [([card], {"experiments": names, "recipe": f, "overrides": overrides}) for f, names in files.items()]
    return jobs


def _conclude(given: argparse.Namespace, cards: list[Card], ledger: Ledger) -> None:
    from harness.report import family_files, figure, paper_files, write_files
    from harness.show import print_beside_record, print_trials

    results, house = _results(given), given.root / "results"
    for card in cards:
        paper = standing(card, ledger)
        if results == house:
            pages = [*paper_files(paper, results)]
        else:  # what is on record elsewhere has a page there, and none in the paper's README
            pages = [*family_files(given.root, results, card.family, [paper]), *figure(paper, results)]
        write_files(pages)
        recorded = paper if results == house else standing(card, Ledger(house / "runs"))
        if recorded is not paper and recorded.records:
            print_beside_record(paper, recorded, house)
        else:
            chosen = [t for t in paper.trials if t.records and given.experiment in (None, t.experiment.name)]
            print_trials(paper, chosen)
        print()
        for path, _ in pages:
            print(f"{'Figure:' if path.suffix == '.svg' else 'Table: '} {shown_path(path)}")


def tune(given: argparse.Namespace) -> int:
    """Makes the tries that are not on record and prints all of them; recipes are left as they are."""
    from common.experiments.tries import TryLedger
    from harness import tune as tuning
    from harness.runner import cores, execute

    card = catalog.find(given.slug, given.root)
    ledger = TryLedger(_results(given) / "tuning")
    tried = tuning.settings(card, given.experiment)
    runs, code = tuning.plan(card, ledger, tried), 0
    print(f"{len(tried)} settings: {len(runs)} runs to do")
    if runs and not given.dry_run:
        workers = given.workers or cores()
        code = execute(runs, ledger, workers=workers, logs=_logs(given) / "tuning").exit_code
    for warning in ledger.read(card.slug)[1]:
        say(warning)
    found = tuning.scores(ledger, card, tried)
    for _, group in itertools.groupby(found, key=lambda score: id(score.setting.tuning)):
        own = list(group)
        title, columns, rows = tuning.table(own)
        print_table(columns, rows, title)
        print(*tuning.conclusions(own), sep="\n")
    return code


def lightning(given: argparse.Namespace) -> None:
    """LightningCLI on a recipe of the paper, once the options have been looked at without loading it."""
    from harness.options import check_options, print_help

    card = catalog.find(given.slug, given.root)
    if {"--help", "-h"} & set(given.overrides):
        print_help(card, given.command, given.overrides)
        return
    check_options(card, given.overrides)
    from harness.fit import run_subcommand  # loads torch

    run_subcommand(card, given.command, given.overrides)


def compare(given: argparse.Namespace) -> None:
    """The rankings on one benchmark."""
    from harness.compare import floor_of, measure_floors, rankings

    papers = _standings(given)
    concerned = [paper for paper in papers if any(r.benchmark == given.benchmark for r in paper.records)]
    if concerned:
        rankings(concerned, [], given.benchmark, given.metric)  # an unknown metric shows before floors are computed
        floors = measure_floors(concerned, _results(given), say, given.benchmark)
    else:
        floors = [floor_of(_ready(given, papers), _results(given))]
    for table in rankings(concerned, floors, given.benchmark, given.metric):
        rows = [
            (
                str(row.rank or ""),
                row.label,
                row.slug or "floor",
                with_interval(row.estimate),
                str(row.estimate.n) if row.slug else "",
            )
            for row in table.rows
        ]
        print_table(("rank", "method", "paper", "mean [95% interval]", "seeds"), rows, f"{table.title}: {table.metric}")
    waiting = [p.card.slug for p in papers if given.benchmark in p.benchmarks and p not in concerned]
    if waiting:
        say(f"not on record yet: {' '.join(waiting)}")


def _ready(given: argparse.Namespace, papers: list[Standing]) -> "Benchmark":
    """The benchmark of that name, although nothing is on record for it."""
    catalog.importable(given.root)
    from data.benchmarks import catalog as benchmarks  # loads torch

    known = benchmarks()
    names = sorted({*known, *(name for paper in papers for name in paper.benchmarks)})
    if given.benchmark not in names:
        hint = closest(given.benchmark, names)
        raise UserError(f"unknown benchmark '{given.benchmark}'{hint}; there are: {', '.join(names) or 'none'}")
    if given.benchmark not in known:
        slugs = " ".join(paper.card.slug for paper in papers if given.benchmark in paper.benchmarks)
        raise UserError(f"nothing is on record for the benchmark '{given.benchmark}'; run: papers rerun {slugs}")
    say(f"nothing is on record for {given.benchmark} yet; computing what needs no learning")
    benchmark = known[given.benchmark]()
    benchmark.prepare_data()
    benchmark.setup("test")
    return benchmark


def report(given: argparse.Namespace) -> None:
    """Writes all generated files, or those of some papers or of a family."""
    from harness.compare import measure_floors
    from harness.report import write

    papers = _standings(given, whole=True)
    for slug in given.slugs:
        catalog.find(slug, given.root)
    chosen = [p for p in papers if p.card.slug in given.slugs or given.family == p.card.family]
    if given.family and not chosen:
        families = sorted({paper.card.family for paper in papers})
        raise UserError(
            f"unknown family '{given.family}'{closest(given.family, families)}; there are: {', '.join(families)}"
        )
    measure_floors(chosen or papers, _results(given), say)
    papers = standings(given.root, Ledger(_results(given) / "runs"))
    changed = write(given.root, _results(given), papers, given.slugs or None, given.family)
    concerned = {paper.card.slug for paper in chosen or papers}
    for paper in papers:
        for fault in paper.faults if paper.card.slug in concerned else ():
            say(fault)
    print(*(shown_path(path) for path in changed), sep="\n") if changed else print("everything was up to date")


def verify(given: argparse.Namespace) -> int:
    """Names what differs; 1 if anything does."""
    from harness.verify import differences

    cards = [catalog.find(slug, given.root) for slug in given.slugs]
    found, well = (
        differences(given.root, _results(given), given.slugs),
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
    from harness import canary

    ledger = Ledger(_results(given) / "runs")
    for card in cards:
        for finding in canary.mark(card, ledger):
            if finding.deviation is not None:
                yield str(finding)


def _trained_again(given: argparse.Namespace, cards: list[Card]) -> tuple[Iterator[str], str]:
    from harness import spot
    from harness.runner import cores

    ledger = Ledger(_results(given) / "runs")
    seed = given.seed if given.seed is not None else int(f"{datetime.date.today():%Y%m%d}")
    chosen = spot.choose(cards, ledger, given.rerun, seed)
    say(f"chosen by {seed}: {', '.join(run.name for run, _ in chosen) or 'nothing is on record'}")
    lines = spot.differences(chosen, ledger, given.workers or cores(), _logs(given) / "again")
    return lines, f"{len(chosen)} runs give what is on record"


def migrate(given: argparse.Namespace) -> None:
    """Old hashes become today's where a checkout of their time knows them."""
    from harness.migrate import migrate as bring_up

    checkout = Path(given.checkout)
    if not checkout.is_dir():
        raise UserError(f"--from is '{given.checkout}', which is no folder; it must be a checkout of the time")
    found = bring_up(_results(given), checkout)
    for one in found:
        left = f", {one.left} unknown to {checkout}" if one.left else ""
        print(f"{one.paper}: {one.migrated} records migrated{left}")
    if not found:
        print("no record is of an older scheme")


def new(given: argparse.Namespace) -> None:
    """A new paper's folder."""
    from harness.scaffold import check_slug, new_paper, next_steps

    like = catalog.find(given.like, given.root)
    check_slug(given.slug, {path.parent.name for path in catalog.found(given.root)})
    folder = shown_path(new_paper(like, given.slug, given.family or like.family))
    print(f"{folder} runs as it is, and does so far what {like.slug} does. Next:")
    print(*(f"  {step}" for step in next_steps(given.slug, folder)), sep="\n")


def schema(given: argparse.Namespace) -> None:
    """Every field that a paper's author may write."""
    from harness.schema_page import schema

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
        from harness.benchmarks_page import write  # loads torch

        write(given.root, _standings(given, whole=True), say)
        return
    known = sources.catalog()
    if given.names:
        print(*known, sep="\n")
        return
    columns = ("source", "size", "fetched", "package", "licence", "what")
    rows = [
        (
            source.name,
            f"{source.size / 1e6:.1f} MB",
            "yes" if source.fetched else "no",
            f"{source.client} {source.package} {source.version}",
            source.licence,
            source.title,
        )
        for source in known.values()
    ]
    print_table(columns, rows)
