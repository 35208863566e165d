"""The numbers on record for the recipe that is trained or scored by hand, to stand beside its own."""

from collections.abc import Iterable, Iterator
from typing import Any

from common.benchmark import Benchmark
from common.errors import UserError
from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger, Record, current, select
from common.experiments.texts import number
from harness.fitting.folders import difference
from harness.recipes.recipe import resolve_arm
from harness.records.identity import counts, recipe_hash

MOST = 4
"""Metrics that are shown."""


def records_of(card: Card, written: Iterable[str], config: dict[str, Any]) -> tuple[str, list[Record]]:
    """The records of the same recipe, as runs are told apart.

    Args:
        written: the arguments of the trainer that recipe and command line name.
        config: the resolved recipe.

    Returns:
        Its hash, and the records of all seeds and arms.
    """
    found = recipe_hash({"trainer": dict.fromkeys(written)}, config)
    records = current(Ledger(card.root / "results/runs").read(card.slug)[0])
    return found, [record for record in records if record.recipe_hash == found]


def beside(
    card: Card, recipe: str, written: Iterable[str], config: dict[str, Any], benchmark: Benchmark
) -> Iterator[str]:
    """What is on record, one line an arm; where only another recipe is, that of the method and what differs.

    Args:
        recipe: the name of the recipe file.
        written, config: as in `records_of`.
    """
    try:
        _, same = records_of(card, written, config)
        arms = {(record.experiment, record.arm): "" for record in same}
        if not arms:
            arms = dict(_others(card, recipe, config))
        records = current(Ledger(card.root / "results/runs").read(card.slug)[0])
    except UserError:  # of a record that cannot be read, which others tell
        return
    for (name, arm), differs in arms.items():
        own = select(same or records, experiment=name, arm=arm, **({} if same else {"recipe": recipe}))
        experiment = card.experiment(name)
        assert isinstance(experiment, Comparison)
        wanted = dict.fromkeys([getattr(benchmark, "primary", ""), *_claimed(experiment, arm)])
        shown = [_spread(metric, own) for metric in wanted if any(metric in record.metrics for record in own)]
        if shown:
            said = f"with {differs}: " if differs else ""
            seeds = f"{len(own)} seed{'s' if len(own) > 1 else ''}"
            yield f"{said}{', '.join(shown[:MOST])}; {seeds} of {arm} in {card.slug}/{name}"


def _claimed(experiment: Comparison, arm: str) -> Iterable[str]:
    return experiment.metrics_of(arm) if arm in experiment.arms else ()


def _others(card: Card, recipe: str, config: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """The method of each experiment by this recipe file, if it is of the class that is trained."""
    for experiment in card.experiments:
        if not isinstance(experiment, Comparison) or experiment.recipe != recipe or not experiment.claims:
            continue
        arm = next((c for c in experiment.claims if c.primary), experiment.claims[0]).method
        there = resolve_arm(card, experiment, arm)
        if there["model"]["class_path"] == config["model"]["class_path"]:
            yield (experiment.name, arm), difference(_counting(there), _counting(config)) or "another trainer"


def _counting(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: dict(config[key]) for key in ("model", "data")}
    arguments = kept["data"].get("init_args") or {}
    kept["data"]["init_args"] = {k: v for k, v in arguments.items() if counts(f"data.{k}")}
    return kept


def _spread(metric: str, records: Iterable[Record]) -> str:
    values = [record.metrics[metric] for record in records if metric in record.metrics]
    mean = sum(values) / len(values)
    span = f" ({number(min(values), abs(mean))} to {number(max(values), abs(mean))})" if len(values) > 1 else ""
    return f"{metric} {number(mean)}{span}"
