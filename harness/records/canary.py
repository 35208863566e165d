"""The losses of a run's first steps: what tells that the code no longer computes what is on record.

A recipe's hash does not see the code behind its names. The first losses do: a loss that returns the double, an
encoder's default that was changed, another order of the data show within three steps, on seed 0, in seconds.
"""

import copy
import datetime
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import lightning as L

from common.benchmark import Benchmark
from common.experiments.card import Card, Comparison
from common.experiments.records import Ledger, Record, current, select
from common.experiments.stale import Mark, StaleLedger

STEPS = 3
TOLERANCE = 1e-4
"""Relative. float32 rounds at 6e-8, and a sum over a batch taken in another order, as by other vector instructions, is
off by some 1e-6 at most. AdamW's first step is lr times the sign of the gradient: where rounding turns a sign, the
gradient is so small that the loss hardly moves. A change of the code that matters is far above."""


class FirstLosses(L.Callback):
    """Keeps the losses of the first three batches.

    Args:
        stop: end the training after them. The schedule is that of the whole run, unlike with `max_steps: 3`.
    """

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        if len(self.losses) < STEPS:
            # A loop that optimizes by hand may return nothing; what it logs is then all there is.
            loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs
            self.losses.append(float(trainer.callback_metrics["train/loss"] if loss is None else loss))
        if self.stop and len(self.losses) == STEPS:
            trainer.should_stop = True


class Finding(NamedTuple):
    """What became of an arm's first losses."""

    record: Record
    """Of seed 0."""
    today: tuple[float, ...]

    @property
    def deviation(self) -> tuple[int, float] | None:
        """The first step (from 1) whose loss is off by more than the tolerance, and by how much; None if all agree."""
        for step, (before, now) in enumerate(zip(self.record.first_losses, self.today, strict=False), start=1):
            off = abs(now - before) / max(abs(before), 1e-12)
            if not off <= TOLERANCE:
                return step, off
        if len(self.record.first_losses) != len(self.today):
            return min(len(self.record.first_losses), len(self.today)) + 1, 1.0
        return None

    def __str__(self) -> str:
        where = f"{self.record.paper}/{self.record.experiment} {self.record.arm}"
        if self.deviation is None:
            return f"{where}: the first losses are as on record"
        step, off = self.deviation
        pairs = [values[step - 1] if step <= len(values) else None for values in (self.record.first_losses, self.today)]
        before, now = ("none" if value is None else f"{value:.7g}" for value in pairs)
        return f"{where}: the loss of step {step} is {now} and was {before} (off by {off:.2g}); the record is stale"


def first_losses(config: dict[str, Any], built: dict[str, Benchmark] | None = None) -> tuple[float, ...]:
    """Trains the first steps of a configuration with its seed, on the CPU.

    Args:
        built: benchmarks that were built before, by the `data` section; a new one is added.
    """
    from harness.recipes import recipe

    trainer_section = config.get("trainer", {}) | {"accelerator": "cpu"}
    watch = FirstLosses(stop=True)
    trainer, module, benchmark = recipe.build(config | {"trainer": trainer_section}, callbacks=(watch,))
    if built is not None:
        key = json.dumps(config["data"], sort_keys=True)
        if key not in built:
            benchmark.prepare_data()
            benchmark.setup("fit")
            built[key] = benchmark
        # What a training leaves on a benchmark stays on its copy.
        benchmark = copy.copy(built[key])
    trainer.fit(module, benchmark)
    return tuple(watch.losses)


def findings(card: Card, ledger: Ledger, experiments: Sequence[str] | None = None) -> Iterator[Finding]:
    """The first losses of each arm whose seed 0 is on record for today's recipe, trained again.

    Records of before the losses were kept, of another device, or of arms that do not train have nothing to compare.
    """
    from harness.recipes.recipe import arm_config, with_seed
    from harness.records.identity import arm_hash

    records = current(ledger.read(card.slug)[0])
    built: dict[str, Benchmark] = {}
    for experiment in card.experiments:
        if not isinstance(experiment, Comparison) or (experiments is not None and experiment.name not in experiments):
            continue
        own = select(records, experiment=experiment.name, recipe=experiment.recipe, seed=0, device="cpu")
        for arm in experiment.arms:
            for record in select(own, arm=arm):
                if record.first_losses and record.recipe_hash == arm_hash(card, experiment, arm):
                    config = with_seed(arm_config(card, experiment, arm), 0)
                    yield Finding(record, first_losses(config, built))


def mark(card: Card, ledger: Ledger) -> Iterator[Finding]:
    """`findings`, each put on record: a deviation marks the arm stale until it is run again or agrees again."""
    marks = StaleLedger(ledger.folder.parent / "stale")
    known = marks.read(card.slug)
    for finding in findings(card, ledger):
        record = finding.record
        step, off = finding.deviation or (0, 0.0)
        before = known.get((record.experiment, record.arm, record.recipe_hash))
        if step or (before is not None and before.step):
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            found = Mark(record.experiment, record.arm, record.recipe_hash, step, off, now)
            marks.append(card.slug, found)
        yield finding
