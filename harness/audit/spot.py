"""Spot checks: records chosen at random are trained again, and their metrics compared."""

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.experiments.card import Card
from common.experiments.items import ItemLedger, Items
from common.experiments.records import ItemKey, Ledger, Record, select
from harness.running.plan import plan
from harness.running.run import Run
from harness.running.runner import execute

ITEM_ERRORS = 2.0
"""Standard errors over the test items by which a metric may be off on another kind of processor, where rounding
differs and the training with it."""
UNITS, RELATIVE = 1000, 0.05
"""The same for a metric of which no items are kept: a share is taken to be over so many items, anything else may be off
by so much of its value."""


def choose(cards: Sequence[Card], ledger: Ledger, n: int, seed: int) -> list[tuple[Run, Record]]:
    """At most n trainings that are on record for today's recipes, evenly among all of them."""
    known = []
    for card in cards:
        # As if nothing were on record, so that each record finds its run.
        empty = Ledger(ledger.folder / "none")
        asked = {
            (run.experiment, run.arm, run.seed, run.recipe_hash): run
            for run in plan(card, empty, seeds=10, check_data=False, fetch=False).runs
            if run.config is not None
        }
        for record in ledger.read(card.slug)[0]:
            run = asked.get((record.experiment, record.arm, record.seed, record.recipe_hash))
            if run is not None:
                known.append((run, record))
    # A run on record twice counts by its last.
    latest = list({(run.paper, run.name): (run, record) for run, record in known}.values())
    return random.Random(seed).sample(latest, min(n, len(latest)))


def differences(chosen: Sequence[tuple[Run, Record]], ledger: Ledger, workers: int, logs: Path) -> Iterator[str]:
    """Trains them again, and yields a line for each that gives something else."""
    with tempfile.TemporaryDirectory() as folder:
        again = Ledger(Path(folder) / "runs")
        outcome = execute([run for run, _ in chosen], again, workers=workers, logs=logs)
        if outcome.interrupted:
            raise KeyboardInterrupt
        yield from (f"{failure.run.name}: {failure.message}" for failure in outcome.failed)
        for run, record in chosen:
            key = ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed)
            items = ItemLedger(ledger.folder.parent / "items").read(run.paper).get(key, {})
            own = {"experiment": run.experiment, "arm": run.arm, "seed": run.seed}
            for new in select(again.read(run.paper)[0], **own):
                yield from (f"{run.name}: {line}" for line in compare(record, new, items))


def compare(record: Record, again: Record, items: Mapping[str, Items]) -> Iterator[str]:
    """What a second run of a record gives otherwise, beyond what its processor explains."""
    if again.data_hash != record.data_hash:
        yield f"its data are {again.data_hash[:8]} and were {record.data_hash[:8]}"
    alike = same_kind(record, again)
    for name, before in record.metrics.items():
        now = again.metrics.get(name)
        if now is None:
            yield f"{name} is not measured any more"
            continue
        allowed = 0.0 if alike else allowance(before, items.get(name))
        if not abs(now - before) <= allowed:
            room = "on the same kind of processor" if alike else f"more than {allowed:.2g} apart"
            yield f"{name} is {now:.7g} and was {before:.7g}, {room}"


def same_kind(record: Record, again: Record) -> bool:
    """Whether two runs must agree to the last bit: same processor, vector instructions, device and libraries."""
    fields = ("processor", "capability", "device", "threads", "versions")
    return all(getattr(record, field) == getattr(again, field) for field in fields)


def allowance(value: float, items: Items | None) -> float:
    """By how much a metric may be off on another kind of processor."""
    if items is not None and len(items.values) > 1:
        return ITEM_ERRORS * float(items.values.std(ddof=1)) / items.total**0.5
    if 0.0 <= value <= 1.0:
        return ITEM_ERRORS * (value * (1.0 - value) / UNITS) ** 0.5
    return RELATIVE * abs(value)
