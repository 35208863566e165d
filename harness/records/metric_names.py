"""Whether the claims of a card are about metrics that their benchmarks are known to give."""

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger
from harness.recipes import catalog
from harness.recipes.signatures import spells
from harness.records.floors import read_floors

MOST = 8
"""Metrics that a line names; of more it says where they stand."""


def doubtful_metrics(card: Card, experiment: Comparison, results: Path) -> list[str]:
    """One line for each metric of the claims that no record and no floor of the benchmark has.

    A benchmark may give more than was ever seen of it, under other arguments or for a module that offers more. So these
    are doubts; what the first run gives, an untrained network's if there is one, decides.
    """
    benchmark = catalog.benchmark_of(card, experiment.recipe)
    ledger = Ledger(results / "runs")
    own = {name for record in ledger.read(card.slug)[0] for name in record.metrics}
    unseen = [metric for metric in experiment.metrics if metric not in own]
    if not unseen or benchmark is None:
        return []
    known, lines = names_of(benchmark, results), []
    for metric in unseen:
        if known and metric not in known:
            # Where only a number differs, as in recall@7, what was seen is the better guide.
            varied = re.sub(r"\d+", "", metric) in {re.sub(r"\d+", "", name) for name in known}
            if not varied and spells(str(catalog.benchmark_class(card, experiment.recipe)), metric, card.root):
                what = f"no record of {benchmark} has '{metric}' yet; its code spells that name, so it seems to be new"
            else:
                meant = choices(metric, known, command(benchmark))
                what = f"nothing on record for {benchmark} has the metric '{metric}'{meant}"
            lines.append(f"{card.slug}/{experiment.name}: {what}")
    return lines


def choices(metric: str, known: Collection[str], listing: str) -> str:
    """What may have been meant by a metric that is not `known`: the nearest, and all if they are few.

    Args:
        listing: where they stand if they are many.
    """
    near = difflib.get_close_matches(metric, known, n=3)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    if len(known) <= MOST:
        return f"{hint}; there are: {', '.join(sorted(known))}"
    return f"{hint}; {listing} names the {len(known)} that there are"


def command(benchmark: str) -> str:
    """What lists the metrics of a benchmark."""
    return f"`papers list --names --by metric --benchmark {benchmark}`"


def names_of(benchmark: str, results: Path) -> set[str]:
    """The metrics of a benchmark in all records and floors, without regard to what is current."""
    known = {
        name
        for floor in read_floors(results)
        if floor.benchmark == benchmark
        for row in floor.rows.values()
        for name in row
    }
    for path in sorted((results / "runs").glob("*.jsonl")):
        records, _ = Ledger(results / "runs").read(path.stem)
        known |= {name for record in records if record.benchmark == benchmark for name in record.metrics}
    return known
