"""`papers tune`: the tries that a card names, with other seeds than the verdict's and scored on validation data."""

import datetime
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.errors import UserError
from common.experiments.card import Card, Comparison, Tuning
from common.experiments.records import select
from common.experiments.schema import closest
from common.experiments.tries import Try, TryLedger
from harness.running.knobs import with_knob
from harness.running.run import Run
from harness.running.twins import Twins, same_data


@dataclass(frozen=True)
class Setting:
    """An arm with the knobs at certain values."""

    experiment: Comparison
    tuning: Tuning
    arm: str
    knobs: dict[str, Any]
    config: dict[str, Any]
    recipe_hash: str
    is_recipe: bool
    """Whether these are the values that the card and its recipe have."""
    budget: float | None
    """Seconds that a run of the recipe takes at most."""


@dataclass(frozen=True)
class Score:
    """What a setting has on record."""

    setting: Setting
    values: tuple[float, ...]
    """The metric of each seed."""

    @property
    def mean(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None


def settings(card: Card, experiment: str | None = None) -> list[Setting]:
    """All settings that the card says were or are to be tried, each arm with every value.

    Raises:
        UserError: there is nothing to tune, an arm has no such knob, or a value is wrong; names the place on the card.
    """
    from harness.recipes.recipe import arm_config, load_recipe, resolve  # loads torch
    from harness.records.identity import arm_hash, recipe_hash

    chosen = [card.experiment(experiment)] if experiment is not None else card.experiments
    tuned = [e for e in chosen if isinstance(e, Comparison) and e.tuning]
    if not tuned:
        where = f"{card.slug}/{experiment}" if experiment else card.slug
        raise UserError(f"{where} names nothing to tune; an experiment's 'tuning' on the card does")
    found = []
    for one in tuned:
        budget = load_recipe(card, one.recipe).data.get("budget_s")
        for tuning in one.tuning:
            for arm, values in itertools.product(tuning.arms, itertools.product(*tuning.knobs.values())):
                knobs = dict(zip(tuning.knobs, values, strict=True))
                config = arm_config(card, one, arm)
                for knob, value in knobs.items():
                    config = with_knob(config, knob, value)
                try:
                    hashed = recipe_hash(config, resolve(config))
                except UserError as error:
                    raise UserError(f"{card.slug}/{one.name}: the arm '{arm}' with {_words(knobs)}: {error}") from None
                is_recipe = hashed == arm_hash(card, one, arm)
                found.append(Setting(one, tuning, arm, knobs, config, hashed, is_recipe, budget))
    return found


def plan(card: Card, ledger: TryLedger, tried: Sequence[Setting]) -> list[Run]:
    """The tries that are not on record, seed by seed, equally for every arm."""
    from harness.recipes.recipe import with_seed

    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known = [one.record for one in ledger.read(card.slug)[0]]
    twins = Twins(ledger)
    runs: dict[tuple[str, str, str, int], Run] = {}
    for seed in dict.fromkeys(seed for setting in tried for seed in setting.tuning.seeds):
        for setting in tried:
            own = {"experiment": setting.experiment.name, "arm": setting.arm, "recipe_hash": setting.recipe_hash}
            if seed not in setting.tuning.seeds or select(known, **own, seed=seed):
                continue
            alike = select(known, experiment=setting.experiment.name)
            run = Run(
                card.slug,
                setting.experiment.name,
                setting.arm,
                seed,
                setting.experiment.recipe,
                setting.recipe_hash,
                card.root,
                (setting.tuning.metric,),
                config=with_seed(setting.config, seed),
                expected_seconds=sum(r.seconds for r in alike) / len(alike) if alike else None,
                budget_seconds=setting.budget,
                split="val",
                knobs=setting.knobs,
                planned=now,
            )
            twin = twins.find(run)
            if twin is not None and same_data(run, twin):
                run = replace(run, twin=twin, expected_seconds=0.0)
            runs[(*own.values(), seed)] = run
    return list(runs.values())


def scores(ledger: TryLedger, card: Card, tried: Sequence[Setting]) -> list[Score]:
    """The metric of each setting and seed, as far as it is on record."""
    known = {
        (t.record.experiment, t.record.arm, t.record.recipe_hash, t.record.seed): t for t in ledger.read(card.slug)[0]
    }
    found = []
    for setting in tried:
        key = (setting.experiment.name, setting.arm, setting.recipe_hash)
        own = [known[(*key, seed)] for seed in setting.tuning.seeds if (*key, seed) in known]
        found.append(Score(setting, tuple(_value(one, setting.tuning.metric) for one in own)))
    return found


def best(found: Sequence[Score]) -> Score | None:
    """The best of the settings of one arm; None until all of them have all their seeds."""
    if any(len(score.values) < len(score.setting.tuning.seeds) for score in found):
        return None
    side = 1 if found[0].setting.tuning.better == "higher" else -1
    return max(found, key=lambda score: side * score.mean)


def table(found: Sequence[Score]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, columns and rows for one tuning: a row a setting."""
    knobs = tuple(found[0].setting.tuning.knobs)
    tops = [best([s for s in found if s.setting.arm == arm]) for arm in found[0].setting.tuning.arms]
    rows = []
    for score in found:
        notes = ["best"] if score in tops else []
        notes += ["the recipe's"] if score.setting.is_recipe else []
        mean = "" if score.mean is None else f"{score.mean:.4g}"
        values = [str(score.setting.knobs[knob]) for knob in knobs]
        rows.append((score.setting.arm, *values, mean, str(len(score.values)), ", ".join(notes)))
    tuning = found[0].setting.tuning
    seeds = ", ".join(map(str, tuning.seeds))
    title = f"{found[0].setting.experiment.name}: on validation data, seeds {seeds}; {tuning.better} is better"
    return title, ("arm", *knobs, tuning.metric, "seeds", ""), rows


def conclusions(found: Sequence[Score]) -> list[str]:
    """For each arm of one tuning whether its recipe has the best of the values tried."""
    lines = []
    for arm in found[0].setting.tuning.arms:
        own = [score for score in found if score.setting.arm == arm]
        top = best(own)
        if top is None:
            lines.append(f"{arm}: not all tries are on record yet")
        elif top.setting.is_recipe:
            lines.append(f"{arm}: the recipe has the best values tried")
        elif any(score.setting.is_recipe for score in own):
            lines.append(f"{arm}: the best is {_words(top.setting.knobs)}, which the recipe has not")
        else:
            lines.append(f"{arm}: the best is {_words(top.setting.knobs)}; the recipe's values were not tried")
    return lines


def _value(one: Try, metric: str) -> float:
    if metric not in one.record.metrics:
        known = one.record.metrics
        raise UserError(
            f"{one.record.paper}/{one.record.experiment}: tuned by '{metric}'{closest(metric, known)}, but validation "
            f"gives: {', '.join(known)}"
        )
    return one.record.metrics[metric]


def _words(knobs: dict[str, Any]) -> str:
    return ", ".join(f"{knob} {json.dumps(value)}" for knob, value in knobs.items())
