"""Where the claims of a paper stand: its card beside its current records. Everything printed or drawn starts here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.experiments.card import Card, Comparison, Experiment
from common.experiments.metrics import better
from common.experiments.paired import Interval, interval
from common.experiments.records import Ledger, Record, current, select
from common.experiments.stale import StaleLedger, stale_arms
from common.experiments.verdict import CONFIDENCE, ClaimResult, PropertyResult, Verdict, arm_values, judge
from harness.recipes import catalog
from harness.records.floors import Floor, floors_of, read_floors


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
    stale: tuple[str, ...] = ()
    """The arms that the code no longer trains as on record (see `canary`)."""

    def label(self, arm: str) -> str:
        """The name of an arm in tables and figures; says if its records are stale."""
        return self.comparison.arms[arm].label + (" (stale)" if arm in self.stale else "")

    @property
    def is_comparison(self) -> bool:
        return isinstance(self.experiment, Comparison)

    @property
    def comparison(self) -> Comparison:
        """The experiment, where it is one."""
        assert isinstance(self.experiment, Comparison)
        return self.experiment

    @property
    def command(self) -> str:
        """What to type to get these records again."""
        full = " --recipe full" if self.recipe.startswith("full") else ""
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

    def pairs(self, result: ClaimResult, metric: str | None = None) -> list[float]:
        """Method minus baseline of each seed that counts for a claim, in its metric or another."""
        sides = (result.claim.method, result.claim.baseline)
        method, baseline = (arm_values(self.records, arm, metric or result.claim.metric) for arm in sides)
        return [method[s] - baseline[s] for s in result.seeds if s in method and s in baseline]

    def opposing(self, result: ClaimResult) -> dict[str, Interval]:
        """The recorded metrics in which the same comparison goes the other way, with the interval of its difference.

        Other than the claim's own metric does, if its interval excludes zero; otherwise than is claimed.
        """
        if result.verdict is Verdict.NOT_RUN:
            return {}
        own = result.side or 1
        found = {}
        for metric in dict.fromkeys(name for record in self.records for name in record.metrics):
            differences = self.pairs(result, metric)
            if metric == result.claim.metric or better(metric) is None or len(differences) < len(result.seeds):
                continue
            difference = interval(differences, CONFIDENCE)
            if difference.side * (1 if better(metric) == "higher" else -1) == -own:
                found[metric] = difference
        return found


@dataclass(frozen=True)
class Standing:
    """A paper with the state of its claims."""

    card: Card
    trials: tuple[Trial, ...]
    """One for each experiment and recipe file."""
    warnings: tuple[str, ...]
    """One for each line of its records that cannot be read."""
    tuned: bool = False
    """Whether what the card says was tuned is on record."""

    @property
    def primary(self) -> tuple[Trial, ClaimResult | PropertyResult] | None:
        """The paper's central claim by the card's own recipe, and the experiment it is part of."""
        for trial in self.trials:
            for result in trial.results:
                if result.primary:
                    return trial, result
        return None

    @property
    def faults(self) -> list[str]:
        """What the card says of claims that their records do not bear out, one line each."""
        lines = []
        for trial in self.trials:
            for result in trial.results:
                if isinstance(result, ClaimResult):
                    where = f"{self.card.slug}/{trial.experiment.name}: '{result.claim.text}'"
                    if result.claim.remark and not result.side:
                        lines.append(f"{where} has a remark, but its interval does not exclude zero; leave it out")
                    if result.margin is None and result.incomplete and "'margin'" in (result.reason or ""):
                        lines.append(f"{where}: {result.reason}")
        return lines

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
    items, broken = ItemLedger(results / "items").scan(card.slug)
    records, warnings = ledger.read(card.slug)
    records, warnings = current(records), [*warnings, *broken]
    marks = StaleLedger(results / "stale").read(card.slug)
    trials = []
    for experiment in card.experiments:
        own = select(records, experiment=experiment.name)
        first = experiment.recipe if isinstance(experiment, Comparison) else experiment.check
        others = sorted({record.recipe for record in own}) if isinstance(experiment, Comparison) else []
        for recipe in dict.fromkeys([first, *others]):
            # The file that a check stands in may have moved since.
            of_recipe = select(own, recipe=recipe) if isinstance(experiment, Comparison) else own
            benchmark = catalog.benchmark_of(card, recipe) if isinstance(experiment, Comparison) else None
            ran = dict.fromkeys(record.arm for record in of_recipe)
            of_arms = {arm: floors_of(select(of_recipe, arm=arm), floors) for arm in ran}
            found = judge(experiment, of_recipe, items=items, floors=of_arms)
            stale = stale_arms(of_recipe, marks)
            trials.append(Trial(card, experiment, recipe, benchmark, tuple(of_recipe), tuple(found), stale))
    tuned = (results / "tuning" / f"{card.slug}.jsonl").is_file()
    return Standing(card, tuple(trials), tuple(warnings), tuned)


def standings(root: Path, ledger: Ledger) -> list[Standing]:
    """All papers, sorted by family and slug."""
    floors = read_floors(ledger.folder.parent)
    return [standing(card, ledger, floors) for card in catalog.cards(root)]


def tally(papers: Iterable[Standing]) -> Counter[Verdict]:
    """How many of the papers' claims have each verdict; controls of our own are not among them."""
    return Counter(result.verdict for paper in papers for result in paper.results if not result.control)


def tally_primary(papers: Iterable[Standing]) -> Counter[Verdict]:
    """How many papers have each verdict on their primary claim."""
    return Counter(paper.primary[1].verdict for paper in papers if paper.primary)


def verdict_words(counts: Counter[Verdict]) -> str:
    """The counts in words, in a fixed order: "2 reproduced, 1 undecided"."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
