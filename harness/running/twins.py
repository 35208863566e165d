"""Trainings that are on record elsewhere: a baseline on ground that papers share is trained once, for all of them."""

import functools
import json
from collections.abc import Mapping

from common.experiments.items import ItemLedger, Items
from common.experiments.records import ItemKey, Ledger, Record
from common.experiments.stale import StaleLedger, is_stale
from common.experiments.tries import Try, TryLedger
from harness.running.run import Run


class Twins:
    """Finds the record of the same recipe and seed in another arm, experiment or paper.

    Args:
        ledger: of runs or of tries; read when the first twin is asked for.
    """

    def __init__(self, ledger: Ledger | TryLedger) -> None:
        self.ledger = ledger
        self._items: dict[str, Mapping[ItemKey, Mapping[str, Items]]] = {}

    def find(self, run: Run) -> Record | None:
        """The record of the training of `run`, if all that the run owes was kept of it; the run's own paper first.

        Data are not compared: see `same_data`.
        """
        if run.config is None:
            return None
        others = [
            record
            for record in self._records.get((run.recipe_hash, run.seed), [])
            if (record.paper, record.experiment, record.arm) != (run.paper, run.experiment, run.arm)
            and is_whole(record, run, self._items_of(record.paper))
        ]
        return max(others, key=lambda record: record.paper == run.paper, default=None)

    @functools.cached_property
    def _records(self) -> dict[tuple[str, int], list[Record]]:
        found: dict[tuple[str, int], list[Record]] = {}
        stale = StaleLedger(self.ledger.folder.parent / "stale")
        for slug in self.ledger.slugs():
            entries, marks = self.ledger.read(slug)[0], stale.read(slug)
            for entry in reversed(entries):
                record = entry.record if isinstance(entry, Try) else entry
                if isinstance(entry, Try) or not is_stale(record, marks):
                    found.setdefault((record.recipe_hash, record.seed), []).append(record)
        return found

    def _items_of(self, slug: str) -> Mapping[ItemKey, Mapping[str, Items]]:
        if slug not in self._items:
            self._items[slug] = ItemLedger(self.ledger.folder.parent / "items").read(slug)
        return self._items[slug]


def is_whole(record: Record, run: Run, items: Mapping[ItemKey, Mapping[str, Items]]) -> bool:
    """Whether all that the claims ask of a run was scored and kept of it."""
    if run.check is not None or not run.metrics:
        return True
    if not set(run.metrics) <= record.metrics.keys():  # a claim that came later, on what was not measured then
        return False
    key = ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed)
    # Records of before items were kept have no processor time either.
    asked = set(record.means) & set(run.metrics) if run.keeps_items else set()
    return record.cpu_seconds > 0 and asked <= items.get(key, {}).keys()


def same_data(run: Run, record: Record) -> bool:
    """Whether the data of a run are, by what was read and chosen, those of a record."""
    # Most benchmarks are the same for every seed, so one of them answers for all; label noise is drawn by the seed.
    assert run.config is not None
    data = run.config["data"]
    first = {**data, "init_args": {**data["init_args"], "seed": 0}}
    return any(fingerprint(json.dumps(d, sort_keys=True)) == record.data_hash for d in (first, data))


@functools.cache
def fingerprint(data: str) -> str:
    """That of the benchmark of a recipe's `data`, given as JSON."""
    from harness.recipes.recipe import build_benchmark

    benchmark = build_benchmark(json.loads(data))
    benchmark.prepare_data()
    benchmark.setup("fit")
    return benchmark.fingerprint()
