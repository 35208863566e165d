"""Where the claims of a paper stand: its card beside its current records. Everything printed or drawn starts here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.experiments.card import Card, Comparison, Experiment
from common.experiments.paired import Interval, interval
from common.experiments.records import Ledger, Record, current, select
from common.experiments.verdict import ClaimResult, PropertyResult, Verdict, arm_values, judge
from harness import catalog
from harness.floors import Floor, floors_of, read_floors


@dataclass(frozen=True)
class Trial:
    """One experiment under one recipe file, with its results in the order of the card."""

    card: Card
    experiment: Experiment
    recipe: str
    benchmark: str | None
    records: tuple[Record, ...]
    """The current ones of this experiment and recipe."""
    results: tuple[ClaimResult | PropertyResult, ...]

    @property
    def is_comparison(self) -> bool:
        return isinstance(self.experiment, Comparison)

    @property
    def command(self) -> str:
        """What to type to get these records again."""
        full = " --recipe full" if self.recipe == "full.yaml" else ""
        return f"papers rerun {self.card.slug} --experiment {self.experiment.name}{full}"

    def seeds(self, arm: str) -> set[int]:
        """The seeds of an arm that are on record."""
        return {record.seed for record in self.records if record.arm == arm}

    def values(self, arm: str, metric: str) -> list[float]:
        """The values of an arm, ordered by seed."""
        return [value for _, value in sorted(arm_values(self.records, arm, metric).items())]

    def arm(self, arm: str, metric: str) -> Interval | None:
        """Mean and interval of an arm; None if nothing of it is on record."""
        values = self.values(arm, metric)
        return interval(values) if values else None


@dataclass(frozen=True)
class Standing:
    """A paper with the state of its claims."""

    card: Card
    trials: tuple[Trial, ...]
    """One for each experiment and recipe file."""
    warnings: tuple[str, ...]
    """One for each line of its records that cannot be read."""

    @property
    def records(self) -> list[Record]:
        return [record for trial in self.trials for record in trial.records]

    @property
    def results(self) -> list[ClaimResult | PropertyResult]:
        return [result for trial in self.trials for result in trial.results]

    @property
    def verdicts(self) -> Counter[Verdict]:
        return tally([self])

    @property
    def benchmarks(self) -> list[str]:
        return list(dict.fromkeys(trial.benchmark for trial in self.trials if trial.benchmark))


def standing(card: Card, ledger: Ledger, floors: Sequence[Floor] | None = None) -> Standing:
    """Judges every experiment of a card. The recipe that the card names comes first, others only if on record.

    Args:
        ledger: the records, in results/runs; items and floors lie beside them.
        floors: the floors on record, where they have been read already.
    """
    from common.experiments.items import ItemLedger  # loads numpy

    results = ledger.folder.parent
    floors = read_floors(results) if floors is None else floors
    items = ItemLedger(results / "items").read(card.slug)
    records, warnings = ledger.read(card.slug)
    records = current(records)
    trials = []
    for experiment in card.experiments:
        own = select(records, experiment=experiment.name)
        if isinstance(experiment, Comparison):
            recipes = dict.fromkeys([experiment.recipe, *sorted({record.recipe for record in own})])
        else:
            recipes = [experiment.check]
        for recipe in recipes:
            of_recipe = select(own, recipe=recipe)
            benchmark = catalog.benchmark_of(card, recipe) if isinstance(experiment, Comparison) else None
            found = judge(experiment, of_recipe, items=items, floors=floors_of(of_recipe, floors))
            trials.append(Trial(card, experiment, recipe, benchmark, tuple(of_recipe), tuple(found)))
    return Standing(card, tuple(trials), tuple(warnings))


def standings(root: Path, ledger: Ledger) -> list[Standing]:
    """All papers, sorted by family and slug."""
    floors = read_floors(ledger.folder.parent)
    return [standing(card, ledger, floors) for card in catalog.cards(root)]


def tally(papers: Iterable[Standing]) -> Counter[Verdict]:
    """How many claims have each verdict."""
    return Counter(result.verdict for paper in papers for result in paper.results)


def verdict_words(counts: Counter[Verdict]) -> str:
    """The counts in words, in a fixed order: "2 reproduced, 1 undecided"."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
