"""`papers verify`: whether everything generated agrees with the records, and the records with the cards and recipes."""

from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from common.experiments import catalog, report
from common.experiments.card import Card, Comparison, load_card
from common.experiments.records import Ledger, Record, current
from common.experiments.standing import standing
from common.experiments.yaml_lines import shown


def differences(root: Path, results: Path) -> Iterator[str]:
    """One line for each thing that is not as it should be; nothing if all is well."""
    ledger = Ledger(results / "runs")
    cards, faulty = [], False
    for path in catalog.paths(root).values():
        try:
            cards.append(load_card(path, root))  # refuses a published number without a source, too
        except UserError as error:
            faulty = True
            yield str(error)
    known = {card.slug for card in cards}
    if not faulty:
        for slug in ledger.slugs():
            if slug not in known:
                yield f"{shown(ledger.path(slug), root)}: there is no paper '{slug}'"
    for card in cards:
        records, warnings = ledger.read(card.slug)
        yield from (warning.removeprefix(f"{root}/") for warning in warnings)
        yield from _changed(card, current(records))
    if faulty:
        return  # what the tables should say is unknown
    papers = [standing(card, ledger) for card in cards]
    expected = set()
    try:
        for path, text in report.outputs(root, results, papers):
            expected.add(path)
            if not report.agrees(path, text):
                state = "is out of date" if path.exists() else "is missing"
                yield f"{shown(path, root)}: {state}; `papers report` writes it from the records"
    except UserError as error:
        yield str(error)
        return
    for path in sorted((results / "figures").glob("*.svg")):
        if path not in expected:
            yield f"{shown(path, root)}: no records belong to it; `papers report` removes it"


def _changed(card: Card, records: list[Record]) -> Iterator[str]:
    """Records whose experiment, arm, check or recipe is not what the card and the recipe file say today."""
    seen: dict[tuple[str, str, str], str] = {}
    for record in records:
        seen[record.experiment, record.arm, record.recipe] = record.recipe_hash
    experiments = {experiment.name: experiment for experiment in card.experiments}
    for (name, arm, recipe_file), recorded in seen.items():
        experiment = experiments.get(name)
        where = f"{card.slug}/{name}"
        if experiment is None:
            yield f"{where}: has records, but the card has no such experiment"
        elif not isinstance(experiment, Comparison):
            if experiment.check != recipe_file:
                yield f"{where}: the check is {experiment.check}, its records come from {recipe_file}"
        elif arm not in experiment.arms:
            yield f"{where}: the arm '{arm}' has records, but the card has no such arm"
        else:
            from common.experiments.recipe import arm_hash  # loads torch

            try:
                today = arm_hash(card, experiment, arm, recipe_file)
            except UserError as error:
                yield str(error)
                continue
            if today != recorded:
                redo = f"papers rerun {card.slug} --experiment {name}"
                yield f"{where}: {recipe_file} of the arm '{arm}' changed since its records; {redo} makes new ones"
