"""Which runs an experiment needs, and which of them are on record already."""

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.experiments.card import Card, Comparison, Property, untrained
from common.experiments.items import ItemLedger
from common.experiments.records import Ledger, Record, current, select
from common.experiments.stale import StaleLedger, is_stale
from common.experiments.texts import duration
from harness.recipes.arms import check_arms
from harness.records.identity import arm_hash, check_hash
from harness.running.run import Run
from harness.running.twins import Twins, is_whole, same_data


@dataclass(frozen=True)
class Plan:
    """The runs of one or more experiments of a paper."""

    runs: tuple[Run, ...]
    """To be done: seed by seed, so that stopping early leaves pairs."""
    recorded: tuple[Record, ...]
    """On record for the same recipe and data."""
    warnings: tuple[str, ...]
    """Lines of the record file that are amiss."""
    to_fetch: tuple[str, ...] = ()
    """The sources that are not there yet, with their size, where the plan was not to fetch them."""

    def estimate(self, workers: int = 1) -> float | None:
        """Seconds that the runs will take, from earlier ones, or if some arm has never been run from its budget.

        None if there is no budget either.
        """
        seconds = [run.guessed_seconds for run in self.runs]
        if any(s is None for s in seconds):
            return None
        return sum(seconds) / max(1, min(workers, len(seconds)))

    def describe(self, workers: int = 1) -> list[str]:
        """The plan in words, one line an experiment and one for the time."""
        lines = []
        names = dict.fromkeys((x.paper, x.experiment, x.recipe) for x in (*self.recorded, *self.runs))
        for paper, experiment, recipe in names:
            where = {"paper": paper, "experiment": experiment, "recipe": recipe}
            missing, done = select(self.runs, **where), select(self.recorded, **where)
            text = f"{paper}/{experiment} ({recipe}): {len(done)} on record, {len(missing)} to run"
            arms: dict[str, list[int]] = {}
            for run in missing:
                arms.setdefault(run.arm, []).append(run.seed)
            parts = [f"{arm} seed {_ranges(seeds)}" for arm, seeds in arms.items()]
            lines.append(text + (f": {'; '.join(parts)}" if parts else ""))
        bare = next((run.arm for run in self.runs if run.arm.endswith(untrained(""))), None)
        if bare is not None:
            lines.append(f"(such as {bare}: scored with the weights that a training starts from)")
        if self.to_fetch:
            lines.append(f"would fetch: {', '.join(self.to_fetch)}; what is on record for it is trusted until then")
        if self.runs:
            seconds = self.estimate(workers)
            new = "some arm has not been run before"
            if seconds is None:
                time = f"unknown: {new}"
            elif any(run.expected_seconds is None for run in self.runs):
                time = f"at most {duration(seconds)}, as their recipes say: {new}"
            else:
                time = f"about {duration(seconds)}"
            lines.append(f"time with {workers} worker{'s' if workers > 1 else ''}: {time}")
        return lines


def plan(
    card: Card,
    ledger: Ledger,
    experiments: Sequence[str] | None = None,
    seeds: int | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    check_data: bool = True,
    looks: Mapping[tuple[str, str], int] | None = None,
    fetch: bool = True,
) -> Plan:
    """The runs that the card asks for and the record lacks.

    Args:
        experiments: names of experiments; all of the card by default.
        seeds: seeds 0 to seeds - 1 of each arm; by default those of the first look.
        recipe: a recipe file for all comparisons instead of their own; properties have none and are left out.
        overrides: merged over every configuration: where this machine's data lie and what it trains on. They are no
            part of what makes two runs the same.
        check_data: compare the fingerprint of the data, too, which reads them; otherwise trust the record.
        looks: how many seeds an arm of an experiment is to have where it is not the first look's (see `looks`).
        fetch: whether data that are not there may be fetched for that check; otherwise their record is trusted.

    Raises:
        UserError: an unknown experiment, a faulty recipe, or a source that cannot be fetched.
    """
    chosen = [card.experiment(name) for name in experiments] if experiments is not None else list(card.experiments)
    if recipe is not None:
        chosen = [e for e in chosen if isinstance(e, Comparison)]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    records, warnings = ledger.read(card.slug)
    items = ItemLedger(ledger.folder.parent / "items").read(card.slug)
    marks = StaleLedger(ledger.folder.parent / "stale").read(card.slug)
    records = [record for record in records if not is_stale(record, marks)]
    # In a folder of their own the first runs have no earlier ones; the repository's took about as long.
    known = Ledger(card.root / "results/runs").read(card.slug)[0]
    twins = Twins(ledger)
    runs: list[Run] = []
    recorded: list[Record] = []
    to_fetch: dict[str, None] = {}
    for experiment in chosen:
        # An arm that goes back to an older recipe is run again: its old records no longer stand.
        own = current(select(records, experiment=experiment.name))
        elsewhere = select(known, experiment=experiment.name)
        if isinstance(experiment, Property):
            arms = [_check(card, experiment)]
        else:
            arms = _arms(card, experiment, recipe, overrides or {})
        if not fetch:
            to_fetch |= dict.fromkeys(_not_there(arms))
        wanted = {arm.arm: seeds or (looks or {}).get((experiment.name, arm.arm), experiment.seeds) for arm in arms}
        for seed in range(max(wanted.values())):
            for arm in arms:
                if seed >= wanted[arm.arm]:
                    continue
                run = _seeded(arm, seed, _expected_seconds(own, arm) or _expected_seconds(elsewhere, arm))
                found = [record for record in _found(own, run) if is_whole(record, run, items)]
                checked = check_data and run.config is not None and (fetch or not _not_there([arm]))
                if found and checked and not same_data(run, found[0]):
                    found = []
                if found:
                    recorded += found
                    continue
                twin = twins.find(run)
                if twin is not None and checked and same_data(run, twin):
                    run = replace(run, twin=twin, expected_seconds=0.0)
                runs.append(replace(run, planned=now))
    return Plan(tuple(runs), tuple(recorded), tuple(warnings), tuple(to_fetch))


def _found(records: Sequence[Record], run: Run) -> list[Record]:
    # The file that a check stands in may move; a comparison may have records of several recipe files.
    of = {} if run.check is not None else {"recipe": run.recipe}
    return select(records, arm=run.arm, seed=run.seed, recipe_hash=run.recipe_hash, **of)


def _owed(experiment: Comparison) -> dict[str, tuple[str, ...]]:
    """The arms to be scored, and the metrics that each owes to claims."""
    # Untrained networks come first: they cost scoring alone, and show what the benchmark gives before anything trains.
    owed: dict[str, tuple[str, ...]] = {}
    for claim in experiment.claims:
        if claim.learns is True:  # what the baseline has learnt is what it gains on itself untrained
            arm = untrained(claim.baseline)
            owed[arm] = tuple(dict.fromkeys([*owed.get(arm, ()), claim.metric]))
    return owed | {arm: experiment.metrics_of(arm) for arm in experiment.arms}


def _arms(card: Card, experiment: Comparison, recipe: str | None, overrides: Mapping[str, Any]) -> list[Run]:
    """A run of each arm, still without a seed. Every arm is checked before the first one trains."""
    if recipe in (None, experiment.recipe):  # another recipe is carried over to the arms
        check_arms(card, experiment)
    from harness.recipes import recipe as recipes  # imports torch

    budget = recipes.load_recipe(card, recipe or experiment.recipe).data.get("budget_s")
    return [
        Run(
            card.slug,
            experiment.name,
            arm,
            -1,
            recipe or experiment.recipe,
            arm_hash(card, experiment, arm, recipe),
            card.root,
            metrics,
            config=recipes.merge(recipes.arm_config(card, experiment, arm, recipe), dict(overrides)),
            budget_seconds=budget,
        )
        for arm, metrics in _owed(experiment).items()
    ]


def _check(card: Card, experiment: Property) -> Run:
    return Run(
        card.slug,
        experiment.name,
        experiment.name,
        -1,
        experiment.check,
        check_hash(card, experiment),
        card.root,
        experiment.metrics,
        check=experiment.check,
    )


def _seeded(arm: Run, seed: int, expected_seconds: float | None) -> Run:
    config = arm.config
    if config is not None:
        from harness.recipes.recipe import with_seed

        config = with_seed(config, seed)
    return replace(arm, seed=seed, config=config, expected_seconds=expected_seconds)


def _expected_seconds(records: Sequence[Record], arm: Run) -> float | None:
    alike = select(records, arm=arm.arm, recipe=arm.recipe) or select(records, recipe=arm.recipe)
    return sum(r.seconds for r in alike) / len(alike) if alike else None


def _not_there(arms: Sequence[Run]) -> list[str]:
    """The sources of the arms' data that are not fetched yet, with their size."""
    sections = {json.dumps(run.config["data"], sort_keys=True) for run in arms if run.config is not None}
    return [name for section in sorted(sections) for name in unfetched(section)]


@functools.cache
def unfetched(data: str) -> list[str]:
    """The sources of a recipe's data section, as JSON, that are not fetched yet, with their size."""
    from harness.recipes.recipe import build_benchmark

    benchmark = build_benchmark(json.loads(data))
    if benchmark.data_root is not None:
        return []
    # Other kinds of source have nothing to fetch, or no size that is known before.
    missing = [source for source in benchmark.sources if not getattr(source, "fetched", True)]
    return [f"{source.name} ({source.size / 1e6:.0f} MB)" for source in missing]


def prepare_data(runs: Sequence[Run]) -> None:
    """Fetches what the runs need, once each, so that no two workers fetch the same archive.

    Raises:
        UserError: a source cannot be fetched, or its checksum differs.
    """
    if all(run.config is None for run in runs):
        return
    from harness.recipes.recipe import build_benchmark

    for section in data_sections(runs):
        build_benchmark(json.loads(section)).prepare_data()


def data_sections(runs: Sequence[Run]) -> list[str]:
    """The data sections of the runs' recipes, each once, as JSON."""
    if all(run.config is None for run in runs):
        return []
    from harness.recipes.recipe import with_seed

    return sorted({json.dumps(with_seed(r.config, 0)["data"], sort_keys=True) for r in runs if r.config is not None})


def _ranges(numbers: Sequence[int]) -> str:
    """ "0-4, 7" for 0, 1, 2, 3, 4 and 7."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
