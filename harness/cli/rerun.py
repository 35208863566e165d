"""What `papers rerun` and `papers tune` do: plan, say what it takes, run, conclude."""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger
from common.paths import as_path
from harness.cli.hands import hands
from harness.cli.places import kept_in, logs_of, results_of
from harness.console import print_lines, print_table, say, shown_path, working
from harness.recipes import catalog
from harness.recipes.written import full_recipes
from harness.records.metric_names import doubtful_metrics
from harness.records.standing import standing

if TYPE_CHECKING:
    from harness.running.plan import Plan
    from harness.running.runner import Hire


def say_doubts(card: Card, experiment: Comparison, results: Path) -> None:
    for line in doubtful_metrics(card, experiment, results):
        say(line)


def rerun(given: argparse.Namespace) -> int:
    """Runs what is not on record, then prints the verdicts and where table and figures lie."""
    if given.set or given.keys:
        from harness.cli.change import change

        return change(given)
    for option in ("arm", "out", "keep_checkpoints"):
        if getattr(given, option) not in (None, False):
            raise UserError(f"--{option.replace('_', '-')} goes with --set KEY=VALUE")
    cards = _named(given)
    ledger = Ledger(_kept(given, "runs"))
    for card in cards:
        if not card.experiments:
            raise UserError(f"{card.slug} has no experiments of its own; those of other papers train it")
        if given.experiment is not None:
            card.experiment(given.experiment)  # raises where there is none, before torch is loaded
        if not given.dry_run:
            ledger.check_writable(card.slug)
    jobs = _full_jobs(given, cards) if given.recipe == "full" else _mini_jobs(given, cards)
    for card in cards:
        for experiment in card.experiments:
            if isinstance(experiment, Comparison) and given.experiment in (None, experiment.name):
                # What is on record of a benchmark stands in the repository, whatever folder the new records go to.
                say_doubts(card, experiment, given.root / "results")
    with hands(given) as (workers, hire):
        code = _run(given, jobs, ledger, workers, hire)
    if not given.dry_run and code < 128:  # a signal wants the end now; the same command goes on and concludes
        _conclude(given, cards, ledger)
    return code


def _run(given: argparse.Namespace, jobs: list[Any], ledger: Ledger, workers: int, hire: "Hire") -> int:
    """Does the jobs, or says what they would be; returns the exit code of the first that fails."""
    with working("loading torch, reading the recipes"):
        from harness.running import looks

    if given.dry_run or given.recipe == "full":
        for of, options in jobs:
            with working("reading the recipes"):
                planned = looks.plans(of, ledger, **options, seeds=given.seeds, fetch=False)
            for one in planned:
                _describe(given, one, workers)
    for of, options in [] if given.dry_run else jobs:
        told = {"workers": workers, "logs": logs_of(given), "hire": hire}
        if code := looks.rerun(of, ledger, **options, seeds=given.seeds, **told):
            return code
    return 0


def _named(given: argparse.Namespace) -> list[Card]:
    """The papers to rerun."""
    if not given.all:
        if not given.slugs:
            raise UserError("which papers? name them, or say --all; see papers rerun --help")
        return [catalog.find(slug, given.root) for slug in dict.fromkeys(given.slugs)]
    if given.slugs or given.experiment is not None or given.recipe == "full":
        raise UserError(
            "--all is all that the cards have, in mini recipes: no SLUG, --experiment or --recipe full goes with it"
        )
    return [card for card in catalog.cards(given.root) if card.experiments]


def _kept(given: argparse.Namespace, folder: str) -> Path:
    """Where records go, which is told where they go beside those that are read."""
    kept = kept_in(given) / folder
    if kept != results_of(given) / folder:
        say(f"records are kept in {shown_path(kept)}; those that came with the package stay as they are")
    return kept


def _describe(given: argparse.Namespace, planned: "Plan", workers: int) -> None:
    for warning in planned.warnings:
        say(warning)
    print_lines(planned.describe(workers))
    if given.recipe == "full":
        from harness.running.cost import cost

        print_lines(cost(planned.runs))


def _mini_jobs(given: argparse.Namespace, cards: list[Card]) -> list[tuple[list[Card], dict[str, Any]]]:
    """The cards, and what `looks` is to be told of their experiments."""
    for option in ("data_root", "devices", "accelerator", "precision"):
        if getattr(given, option) is not None:
            raise UserError(
                f"--{option.replace('_', '-')} is for --recipe full or --set; a mini recipe is run as it is recorded"
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
    from harness.cli.show import print_beside_record, print_trials
    from harness.pages.report import family_files, figure, paper_files, write_files

    results, house = kept_in(given), given.root / "results"
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
    card = catalog.find(given.slug, given.root)
    if given.experiment is not None:
        card.experiment(given.experiment)  # as in `rerun`
    with working("loading torch, reading the recipes"):
        from common.experiments.tries import TryLedger
        from harness.running import tune as tuning
        from harness.running.runner import execute

        ledger = TryLedger(_kept(given, "tuning"))
        tried = tuning.settings(card, given.experiment)
        runs, code = tuning.plan(card, ledger, tried), 0
    print(f"{len(tried)} settings: {len(runs)} runs to do")
    if runs and not given.dry_run:
        with hands(given) as (workers, hire):
            code = execute(runs, ledger, workers=workers, logs=logs_of(given) / "tuning", hire=hire).exit_code
    for warning in ledger.read(card.slug)[1]:
        say(warning)
    found = tuning.scores(ledger, card, tried)
    for _, group in itertools.groupby(found, key=lambda score: id(score.setting.tuning)):
        own = list(group)
        title, columns, rows = tuning.table(own)
        print_table(columns, rows, title)
        print_lines(tuning.conclusions(own))
    return code
