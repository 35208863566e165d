"""`papers verify`: whether everything generated agrees with the records, and the records with the cards and recipes."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from common.errors import UserError
from common.experiments.card import Card, Comparison, untrained
from common.experiments.card_file import load_card
from common.experiments.records import Ledger, Record, current, select
from common.experiments.stale import StaleLedger, stale_arms
from common.experiments.yaml_lines import shown
from harness.console import track
from harness.pages import report
from harness.recipes import catalog
from harness.recipes.written import arm_config
from harness.records.identity import experiment_hash
from harness.records.standing import standing


def differences(root: Path, results: Path, slugs: Collection[str] = ()) -> Iterator[str]:
    """One line for each thing that is not as it should be; nothing if all is well.

    Args:
        slugs: only these papers, and what is made of each of them alone; by default all, and what is made of them
            together.
    """
    ledger = Ledger(results / "runs")
    cards, faulty = [], False
    for slug, path in catalog.paths(root).items():
        if slugs and slug not in slugs:
            continue
        try:
            cards.append(load_card(path, root))  # refuses a published number without a source, too
        except UserError as error:
            faulty = True
            yield str(error)
    known = {card.slug for card in cards}
    if not faulty and not slugs:
        for slug in ledger.slugs():
            if slug not in known:
                yield f"{shown(ledger.path(slug), root)}: there is no paper '{slug}'"
    for card in track(cards, "recipes", len(cards)):
        records, warnings = ledger.read(card.slug)
        yield from (warning.removeprefix(f"{root}/") for warning in warnings)
        yield from _changed(card, current(records))
        yield from _stale(card, current(records), results)
        yield from _over_budget(card, current(records), ledger)
    if faulty:
        return  # what the tables should say is unknown
    papers = [standing(card, ledger) for card in cards]
    of_each = (file for paper in papers for file in report.paper_files(paper, results))
    files = of_each if slugs else report.outputs(root, results, papers)
    expected = set()
    try:
        for path, text in track(files, "files", report.count(papers)):
            expected.add(path)
            if not report.agrees(path, text):
                state = "is out of date" if path.exists() else "is missing"
                yield f"{shown(path, root)}: {state}; `papers report` writes it from the records"
    except UserError as error:
        yield str(error)
        return
    for paper in papers:
        yield from paper.faults
    for path in report.generated(results) if not slugs else ():
        if path not in expected:
            yield f"{shown(path, root)}: no records belong to it; `papers report` removes it"


def _changed(card: Card, records: list[Record]) -> Iterator[str]:
    """Records whose experiment, arm, recipe or check is not what the card and the files beside it say today."""
    latest = {(r.experiment, r.arm, r.recipe): r.recipe_hash for r in records}
    experiments = {experiment.name: experiment for experiment in card.experiments}
    for (name, arm, source), recorded in latest.items():
        where = f"{card.slug}/{name}"
        experiment = experiments.get(name)
        if experiment is None:
            yield f"{where}: has records, but the card has no such experiment"
            continue
        if isinstance(experiment, Comparison) and arm.removesuffix(untrained("")) not in experiment.arms:
            yield f"{where}: the arm '{arm}' has records, but the card has no such arm"
            continue
        try:
            today = experiment_hash(card, experiment, arm, source)
        except UserError as error:
            yield str(error)
            continue
        if today != recorded:
            what = f"{source} for the arm '{arm}'" if isinstance(experiment, Comparison) else source
            redo = f"`papers rerun {card.slug} --experiment {name}` makes new ones"
            yield f"{where}: {what} changed since its records; {redo}"


def _stale(card: Card, records: list[Record], results: Path) -> Iterator[str]:
    """Arms that have been found to train otherwise than on record."""
    marks = StaleLedger(results / "stale").read(card.slug)
    for experiment in card.experiments:
        for arm in stale_arms(select(records, experiment=experiment.name), marks):
            redo = f"`papers rerun {card.slug} --experiment {experiment.name}` makes new records"
            yield f"{card.slug}/{experiment.name}: the arm '{arm}' is stale: the code trains it otherwise now; {redo}"


LONGEST = 150.0
"""CPU seconds of a run of a laptop recipe."""
TABLE = 50 * 60.0
"""CPU seconds of all runs of a paper at the seeds of the first look: 40 minutes for what it claims, and 10 for its
places in the rankings of its family."""


def _trained_elsewhere(card: Card, ledger: Ledger) -> set[str]:
    """The hashes of all trainings that are on record for the papers whose modules stand in arms of this one."""
    slugs = set()
    for experiment in (one for one in card.experiments if isinstance(one, Comparison)):
        for arm in experiment.arms:
            with contextlib.suppress(UserError):  # told already
                parts = arm_config(card, experiment, arm)["model"]["class_path"].split(".")
                slugs |= {parts[2]} if parts[0] == "papers" and len(parts) > 3 else set()
    return {record.recipe_hash for slug in slugs - {card.slug} for record in ledger.read(slug)[0]}


def _over_budget(card: Card, records: list[Record], ledger: Ledger) -> Iterator[str]:
    """Runs that take longer than their recipe says, or than any may; the oldest records do not say how long.

    What an arm takes is the least of its runs: they do the same work, and whatever else the machine does adds to it. A
    training counts once, wherever it stands: a baseline that is on record for its own paper, there.
    """
    total, counted = 0.0, _trained_elsewhere(card, ledger)
    for experiment in card.experiments:
        source = experiment.recipe if isinstance(experiment, Comparison) else None
        own = [r for r in select(records, experiment=experiment.name) if source in (None, r.recipe)]
        budget = LONGEST
        if source is not None:
            from harness.recipes.recipe import load_recipe  # loads torch

            with contextlib.suppress(UserError):  # told already
                budget = min(budget, load_recipe(card, source).data.get("budget_s", budget))
        for arm in dict.fromkeys(r.arm for r in own):
            seconds = [r.cpu_seconds for r in select(own, arm=arm) if r.cpu_seconds > 0]
            if not seconds:
                continue
            least, hashes = min(seconds), {record.recipe_hash for record in select(own, arm=arm)}
            if not hashes <= counted:
                total += least * experiment.seeds
            counted |= hashes
            where = f"{card.slug}/{experiment.name} {arm}"
            if least > budget:
                yield f"{where}: a run takes {least:.0f} CPU seconds; its budget is {budget:.0f}"
            elif max(seconds) > LONGEST:
                yield f"{where}: a run took {max(seconds):.0f} CPU seconds; {LONGEST:.0f} is the most"
    if total > TABLE:
        yield f"{card.slug}: its table takes {total / 60:.0f} CPU minutes; {TABLE / 60:.0f} is the most"
