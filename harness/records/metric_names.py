"""Whether the claims of a card are about metrics that their benchmarks are known to give."""

from pathlib import Path

from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger
from common.experiments.schema import closest
from harness.recipes import catalog
from harness.records.floors import read_floors


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
    known = names_of(benchmark, results)
    lines = []
    for metric in unseen:
        if known and metric not in known:
            hint = closest(metric, known)
            lines.append(
                f"{card.slug}/{experiment.name}: nothing on record for {benchmark} has the metric '{metric}'{hint}; "
                f"there are: {', '.join(sorted(known))}"
            )
    return lines


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
