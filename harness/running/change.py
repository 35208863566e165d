"""`papers rerun --set`: an arm with other values, at the seeds that it has on record, beside its record.

The changed arms stand in a copy of the experiment, so that what runs them, skips what is done and keeps their records
is what runs every other arm. Their records lie in a folder of the user's own.
"""

import hashlib
import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.experiments.card import LOOKS, Arm, Card, Claim, Comparison
from common.experiments.items import ItemLedger
from common.experiments.records import Ledger, Record, current, select
from common.experiments.schema import closest
from common.experiments.verdict import ClaimResult, judge_claim
from harness.recipes.written import arm_config, merge
from harness.records.floors import floors_of, read_floors
from harness.records.standing import Trial, standing
from harness.running.knobs import change, check_sets, said, value_at, with_knob
from harness.running.plan import Plan, plan

LONGEST = 100
"""Letters of a changed arm's name, which is that of a folder of logs, too."""
EXEMPT = "it is an arm on record, whether it learnt or not"
WHOLE = ("32", "32-true")
"""Two words for the precision that a trainer has by default."""


@dataclass(frozen=True)
class Choice:
    """What is changed: an arm of an experiment, and the claim that says by which metric it is compared with whom."""

    card: Card
    experiment: Comparison
    recipe: str
    """The file, the experiment's own or a full one."""
    arm: str
    claim: Claim

    @property
    def other(self) -> str:
        """The arm that the claim compares it with."""
        return self.claim.baseline if self.arm == self.claim.method else self.claim.method

    @property
    def other_is(self) -> str:
        return "its baseline" if self.arm == self.claim.method else "the method it is the baseline of"

    @property
    def where(self) -> str:
        return f"{self.card.slug}/{self.experiment.name}"

    @property
    def config(self) -> dict[str, Any]:
        """That of the arm, as written."""
        return arm_config(self.card, self.experiment, self.arm, self.recipe)


@dataclass(frozen=True)
class Changed:
    """The arm with one value of each key."""

    arm: Arm
    values: dict[str, Any]
    """By key, as the constructors take them: 0.1 where 1e-1 was asked for."""
    recipe_hash: str


@dataclass(frozen=True)
class Change:
    """The arms that one command asks for."""

    choice: Choice
    recipe_hash: str
    """Of the arm as it is."""
    arms: tuple[Changed, ...]
    swept: str | None
    """The key that has several values."""
    recorded: dict[str, Any]
    """The recorded arm's value of each key."""
    at_record: tuple[Any, ...]
    """Values asked for that are the recorded one, in a sweep: they are on record."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.choice.experiment.metrics_of(self.choice.arm)

    @property
    def card(self) -> Card:
        """The card, with the changed arms alone in the place of the experiment's."""
        own, claim = self.choice.experiment, replace(self.choice.claim, primary=False)
        claims = tuple(
            replace(claim, text="", method=one.arm.name, baseline=self.choice.arm, metric=m, learns=EXEMPT)
            for one in self.arms
            for m in self.metrics
        )
        changed = replace(own, arms={one.arm.name: one.arm for one in self.arms}, claims=claims, tuning=())
        experiments = tuple(changed if e is own else e for e in self.choice.card.experiments)
        return replace(self.choice.card, experiments=experiments)


def choose(card: Card, experiment: str | None, arm: str | None, recipe: str | None = None) -> Choice:
    """The arm that is meant: by default the primary claim's method; of an experiment, its first claim's.

    Args:
        recipe: a recipe file instead of the experiment's own.

    Raises:
        UserError: there is no such comparison or arm, or no claim is about it.
    """
    comparisons = [e for e in card.experiments if isinstance(e, Comparison)]
    names = ", ".join(e.name for e in comparisons)
    if not comparisons:
        raise UserError(f"{card.slug} has no experiment that compares arms, so none can be changed")
    if experiment is not None:
        chosen = card.experiment(experiment)
        if not isinstance(chosen, Comparison):
            raise UserError(f"{card.slug}/{experiment} is a property, which has no recipe to change; try: {names}")
    else:
        primary = next((e for e in comparisons if e.primary is not None), None)
        if primary is None:
            raise UserError(
                f"the primary claim of {card.slug} compares no arms; --experiment says which is meant: {names}"
            )
        chosen = primary
    if arm is not None and arm not in chosen.arms:
        there = [e.name for e in comparisons if arm in e.arms]
        hint = f" (--experiment {there[0]} has)" if there else closest(arm, chosen.arms)
        raise UserError(f"{card.slug}/{chosen.name} has no arm '{arm}'{hint}; it has: {', '.join(chosen.arms)}")
    first = chosen.primary or next(iter(chosen.claims), None)
    if arm is None and first is not None:
        arm = first.method
    about = [claim for claim in chosen.claims if arm in (claim.method, claim.baseline)]
    if arm is None or not about:
        known = ", ".join(dict.fromkeys(name for c in chosen.claims for name in (c.method, c.baseline))) or "none"
        raise UserError(f"no claim of {card.slug}/{chosen.name} is about the arm '{arm}'; claims are about: {known}")
    claim = min(about, key=lambda claim: (arm != claim.method, not claim.primary, claim.control))
    return Choice(card, chosen, recipe or chosen.recipe, arm, claim)


def changed(choice: Choice, asked: Mapping[str, Sequence[Any]]) -> Change:
    """The arms that are asked for, each resolved, so that a wrong value shows before anything trains.

    Raises:
        UserError: an unknown key, a wrong value, several swept keys, or nothing that differs from the record.
    """
    check_sets(choice.config, {key: list(values) for key, values in asked.items()}, choice.card.root)
    swept = [key for key, values in asked.items() if len(values) > 1]
    if len(swept) > 1:
        raise UserError(f"--set has several values of {' and of '.join(swept)}; one key at a time can be swept")
    from harness.recipes.catalog import importable
    from harness.recipes.recipe import resolve  # loads torch
    from harness.records.identity import recipe_hash

    importable(choice.card.root)
    config, overrides = choice.config, choice.experiment.arms[choice.arm].overrides
    base = resolve(config)
    recorded = {key: value_at(base, key) for key in asked}
    arms: dict[str, Changed] = {}
    at_record: list[Any] = []
    for values in itertools.product(*asked.values()):
        new, over = config, overrides
        for key, value in zip(asked, values, strict=True):
            new, over = with_knob(new, key, value), merge(over, change(new, key, value))
        words = ", ".join(f"{key}={value}" for key, value in zip(asked, values, strict=True))
        try:
            resolved = resolve(new)
            _try_building(new["model"])
        except UserError as error:
            raise UserError(f"--set {words}: {error}") from None
        taken = {key: value_at(resolved, key) for key in asked}
        for key in taken:
            if key not in swept and taken[key] == recorded[key]:
                raise UserError(
                    f"--set {key}={said(taken[key])}: that is what the arm '{choice.arm}' has on record; leave it out"
                )
        if taken == recorded:
            at_record.append(taken[swept[0]])
            continue
        hashed = recipe_hash(new, resolved)
        if hashed in arms:
            raise UserError(f"--set {swept[0]} has {said(taken[swept[0]])} twice")
        arms[hashed] = Changed(Arm(*_names(choice, taken), over), taken, hashed)
    if not arms:
        raise UserError(f"--set {words}: that is what the arm '{choice.arm}' has on record; nothing would change")
    return Change(
        choice, recipe_hash(config, base), tuple(arms.values()), swept[0] if swept else None, recorded, tuple(at_record)
    )


def _try_building(model: dict[str, Any]) -> None:
    """What only a constructor knows to be wrong; the data's is asked when they are prepared. Raises: UserError."""
    import torch

    from harness.recipes.recipe import build_model

    try:
        # Weights that are loaded into no memory leave a warning each.
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            build_model(model)
    except UserError:
        raise
    except (ValueError, AssertionError) as error:  # a library's own word
        raise UserError(" ".join(str(error).split()) or type(error).__name__) from None
    except Exception:
        pass  # what cannot be built without memory, which says nothing of the values


def with_precision(
    choice: Choice, asked: Mapping[str, Sequence[Any]], precision: str | None
) -> dict[str, Sequence[Any]]:
    """The same with `trainer.precision` among the keys, unless the arm has it on record already."""
    if precision is None:
        return dict(asked)
    if "trainer.precision" in asked:
        raise UserError("--precision and --set trainer.precision are the same; one of them is enough")
    recorded = str(choice.config.get("trainer", {}).get("precision") or WHOLE[0])
    same = precision == recorded or {precision, recorded} <= set(WHOLE)
    return dict(asked) if same else {**asked, "trainer.precision": [precision]}


def _names(choice: Choice, values: Mapping[str, Any]) -> tuple[str, str]:
    """A name for records and folders, and one to be read."""
    parts = [f"{key}={said(value)}" for key, value in values.items()]
    whole = f"{choice.arm}@{','.join(parts)}"
    name = re.sub(r"[^\w.,=+@-]", "-", whole)
    if name != whole or len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    short = [part if len(part) <= 60 else f"{part[:57]}..." for part in parts]
    return name, f"{choice.experiment.arms[choice.arm].label}, {', '.join(short)}"


def values_of(records: Sequence[Record], metric: str) -> list[float]:
    """The metric of each record that has it."""
    return [record.metrics[metric] for record in records if metric in record.metrics]


@dataclass(frozen=True)
class Beside:
    """The record that a change is put beside."""

    trial: Trial
    results: Path
    """Where it lies."""
    seeds: int
    """How many of its seeds the changed arms get, from 0 on."""

    def records(self, arm: str) -> list[Record]:
        """Those of an arm with these seeds, in their order."""
        own = [record for record in select(self.trial.records, arm=arm) if record.seed < self.seeds]
        return sorted(own, key=lambda record: record.seed)

    def values(self, arm: str, metric: str) -> list[float]:
        return values_of(self.records(arm), metric)


def on_record(asked: Change, results: Path, seeds: int | None = None) -> Beside:
    """What is on record of the arm, and how many of its seeds count by the rule.

    Args:
        seeds: so many instead.

    Raises:
        UserError: nothing is on record, it is of another recipe than today's, or it has fewer seeds.
    """
    choice = asked.choice
    paper = standing(choice.card, Ledger(results / "runs"))
    name = choice.experiment.name
    trial = next((t for t in paper.trials if t.experiment.name == name and t.recipe == choice.recipe), None)
    own = select(trial.records, arm=choice.arm) if trial else []
    there = next(n for n in itertools.count() if n not in {record.seed for record in own})
    full = " --recipe full" if choice.recipe != choice.experiment.recipe else ""
    command = f"papers rerun {choice.card.slug} --experiment {name}{full}"
    if trial is None or not there:
        raise UserError(
            f"{choice.where}: the arm '{choice.arm}' is not on record yet, to compare with; first: {command}"
        )
    if own[0].recipe_hash != asked.recipe_hash:
        raise UserError(f"{choice.where}: the arm '{choice.arm}' has another recipe than on record; first: {command}")
    if seeds is not None and seeds > there:
        raise UserError(f"--seeds is {seeds}; the arm '{choice.arm}' has {there} on record to pair with")
    looks = [n for n in LOOKS if n <= there]
    return Beside(trial, results, seeds or max(looks, default=there))


def plan_change(
    asked: Change,
    beside: Beside,
    ledger: Ledger,
    overrides: Mapping[str, Any] | None = None,
    keep_weights: bool = False,
    fetch: bool = True,
) -> Plan:
    """The runs that the user's folder lacks; the recorded arm's took about as long.

    Args:
        overrides: as in `plan.plan`.
        keep_weights: leave each run's weights beside its logs.
        fetch: as in `plan.plan`.
    """
    choice = asked.choice
    own = choice.recipe == choice.experiment.recipe
    planned = plan(
        asked.card,
        ledger,
        experiments=[choice.experiment.name],
        seeds=beside.seeds,
        recipe=None if own else choice.recipe,
        overrides=overrides,
        fetch=fetch,
    )
    took = [record.seconds for record in beside.records(choice.arm)]
    runs = [
        # What was trained before left no weights to take over.
        run if run.twin is not None and not keep_weights else replace(run, expected_seconds=sum(took) / len(took))
        for run in planned.runs
    ]
    if keep_weights:
        runs = [replace(run, twin=None, keeps_weights=True) for run in runs]
    return replace(planned, runs=tuple(runs))


@dataclass(frozen=True)
class Found:
    """A changed arm beside the recorded one and the one that the claim compares it with."""

    changed: Changed
    records: tuple[Record, ...]
    against_record: ClaimResult
    against_other: ClaimResult


def compare(asked: Change, beside: Beside, ledger: Ledger) -> list[Found]:
    """Each changed arm by the rule's own measures: paired difference, interval, margin, error over test items."""
    choice, slug = asked.choice, asked.choice.card.slug
    items = {**ItemLedger(beside.results / "items").read(slug), **ItemLedger(ledger.folder.parent / "items").read(slug)}
    claim = choice.claim
    floors = floors_of(beside.records(claim.baseline), read_floors(beside.results))
    mine = current(ledger.read(slug)[0])
    found = []
    for one in asked.arms:
        records = select(mine, experiment=choice.experiment.name, arm=one.arm.name, recipe_hash=one.recipe_hash)
        records = [record for record in records if record.recipe == choice.recipe and record.seed < beside.seeds]
        both = [*beside.trial.records, *records]
        own = {"text": "", "method": one.arm.name, "primary": False}
        # Whether a baseline learnt is asked of the paper's own; an arm is changed to see what becomes of it.
        learns = claim.learns if choice.other == claim.baseline else EXEMPT
        results = [
            judge_claim(replace(claim, **own, baseline=arm, learns=learnt), both, items=items, floors=floors)
            for arm, learnt in ((choice.arm, EXEMPT), (choice.other, learns))
        ]
        found.append(Found(one, tuple(records), *results))
    return found


def cautions(found: Sequence[Found], beside: Beside, choice: Choice) -> list[str]:
    """What else differs between the runs and the record, a line each."""
    theirs = {record.seed: record for record in beside.records(choice.arm)}
    pairs = [(record, theirs[record.seed]) for one in found for record in one.records if record.seed in theirs]
    lines = []
    if choice.arm in beside.trial.stale or choice.other in beside.trial.stale:
        lines.append(f"the code no longer trains {choice.where} as it is on record (stale), so part of d may be that")
    if any(mine.data_hash != its.data_hash for mine, its in pairs):
        lines.append(
            "the changed arm has other data than the record, so d is of both, and test items may not be the same"
        )
    for what, of in (
        ("processor", lambda record: f"{record.processor} {record.capability}".strip()),
        ("device", lambda record: record.device),
        ("version of torch", lambda record: record.versions.get("torch", "unknown")),
    ):
        kinds = sorted({(of(its), of(mine)) for mine, its in pairs if of(mine) != of(its)})
        if kinds:
            its, mine = kinds[0]
            lines.append(f"the record is of {what} {its}, these runs of {mine}: rounding alone parts the two of a seed")
    return lines
