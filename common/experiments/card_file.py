"""Reads `paper.yaml` into a card; every fault is named with its file and line."""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.experiments.card import LOOKS, Arm, Card, Claim, Comparison, Curve, Experiment, Property, Tuning
from common.experiments.schema import check_class, closest, decode, fail
from common.experiments.yaml_lines import Document, Location, load


@dataclass(frozen=True)
class _Fields:
    """An arm as it stands in the file."""

    label: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


def load_card(path: Path, root: Path) -> Card:
    """Reads and checks a card.

    Args:
        path: the `paper.yaml`, at <root>/papers/<family>/<slug>/paper.yaml.
        root: the repository; messages name the file relative to it.

    Raises:
        UserError: "file:line: what is wrong", for the first fault found.
    """
    document = load(path, root)
    data = dict(document.data)
    experiments = data.get("experiments")
    if isinstance(experiments, list):
        # Two kinds of experiment: each is read by its own dataclass, the rest of the card by `decode`.
        data["experiments"] = []
    card = decode(Card, document, (), data, path=path, root=root)
    card = replace(card, experiments=_experiments(document, experiments or []))
    _check_card(card, document)
    return card


def _experiments(document: Document, entries: list[Any]) -> tuple[Experiment, ...]:
    found: list[Experiment] = []
    for i, entry in enumerate(entries):
        where: Location = ("experiments", i)
        kinds: dict[str, type[Experiment]] = {"compare": Comparison, "property": Property}
        if not isinstance(entry, dict) or entry.get("kind") not in kinds:
            kind = entry.get("kind") if isinstance(entry, dict) else entry
            place = (*where, "kind") if isinstance(entry, dict) and "kind" in entry else where
            fail(document, place, f"an experiment needs 'kind: compare' or 'kind: property', found {kind!r}")
        entry = dict(entry)
        arms, tuning = entry.get("arms"), entry.get("tuning")
        if entry["kind"] == "compare":
            if "seeds" in entry:
                first, last = LOOKS
                looks = f"a comparison is looked at with {first} seeds and, if its primary claim is undecided, {last}"
                fail(document, (*where, "seeds"), f"unknown field 'seeds': {looks}")
            if isinstance(arms, dict):
                entry["arms"] = {}
            if isinstance(tuning, dict):
                entry["tuning"] = []
        experiment: Experiment = decode(kinds[entry["kind"]], document, where, entry)
        if isinstance(experiment, Comparison):
            experiment = replace(experiment, arms=_arms(document, (*where, "arms"), arms or {}))
            if isinstance(tuning, dict):  # one, without the list
                experiment = replace(experiment, tuning=(decode(Tuning, document, (*where, "tuning"), tuning),))
        _check_experiment(experiment, document, where)
        if experiment.name in [e.name for e in found]:
            fail(document, (*where, "name"), f"a second experiment is named '{experiment.name}'")
        found.append(experiment)
    return tuple(found)


def _arms(document: Document, where: Location, entries: dict[str, Any]) -> dict[str, Arm]:
    arms = {}
    for name, entry in entries.items():
        fields = decode(_Fields, document, (*where, name), {} if entry is None else entry)
        for section in ("model", "data"):
            check_class(document, (*where, name, section), getattr(fields, section))
        overrides = {key: part for key in ("model", "data", "trainer") if (part := getattr(fields, key))}
        arms[name] = Arm(name, fields.label or name, overrides)
    return arms


_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_PLACE = re.compile(r"(model|data|trainer)(\.\w+)+")


def _check_experiment(experiment: Experiment, document: Document, where: Location) -> None:
    # Names become folders under logs/ and words on the command line.
    if not _NAME.fullmatch(experiment.name):
        fail(document, (*where, "name"), f"'{experiment.name}' must be lower case letters, digits or '_.-'")
    for i, curve in enumerate(experiment.curves):
        _check_curve(experiment, curve, document, (*where, "curves", i))
    if isinstance(experiment, Property):
        if experiment.seeds < 1:
            fail(document, (*where, "seeds"), f"'seeds' is {experiment.seeds}; it must be at least 1")
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", experiment.check):
            fail(document, (*where, "check"), f"'check' must be 'module:function', found '{experiment.check}'")
        if experiment.tolerance < 0:
            fail(document, (*where, "tolerance"), f"'tolerance' is {experiment.tolerance}; it must not be negative")
        return
    if not experiment.arms:
        fail(document, (*where, "arms"), "a comparison needs at least one arm")
    for name in experiment.arms:
        if not _NAME.fullmatch(name):
            fail(document, (*where, "arms", name), f"the arm '{name}' must be lower case letters, digits or '_.-'")
    if not (document.path.parent / experiment.recipe).is_file():
        fail(document, (*where, "recipe"), f"the recipe '{experiment.recipe}' does not exist beside the card")
    for i, claim in enumerate(experiment.claims):
        for side in ("method", "baseline"):
            _check_arm(experiment, getattr(claim, side), document, (*where, "claims", i, side))
        if claim.method == claim.baseline:
            fail(document, (*where, "claims", i, "baseline"), f"'{claim.method}' is compared with itself")
        if claim.margin is not None and not 0 < claim.margin < math.inf:
            fail(document, (*where, "claims", i, "margin"), f"'margin' is {claim.margin}; it must be above 0")
        if claim.learns is False:
            why = "it must be true, or a text that says why the baseline need not have learnt"
            fail(document, (*where, "claims", i, "learns"), f"'learns' is false; {why}")
    for i, tuning in enumerate(experiment.tuning):
        # A tuning that stands alone needs no list, so its fields lie one level higher.
        place = (*where, "tuning", i) if (*where, "tuning", i) in document.lines else (*where, "tuning")
        _check_tuning(experiment, tuning, document, place)
    for i, plane in enumerate(experiment.planes):
        for j, arm in enumerate(plane.arms):
            _check_arm(experiment, arm, document, (*where, "planes", i, "arms", j))
    if experiment.primary is not None and experiment.tuning:
        _check_equal_tuning(experiment, experiment.primary, document, (*where, "tuning"))


def _check_arm(experiment: Comparison, arm: str, document: Document, where: Location) -> None:
    if arm not in experiment.arms:
        known = f"{closest(arm, experiment.arms)}; the arms are: {', '.join(experiment.arms)}"
        role = f"'{where[-1]}'" if isinstance(where[-1], str) else f"'{where[-2]}'"
        fail(document, where, f"{role} names the unknown arm '{arm}'{known}")


def _check_curve(experiment: Experiment, curve: Curve, document: Document, where: Location) -> None:
    if not curve.lines:
        fail(document, (*where, "lines"), "'lines' is empty")
    for i, line in enumerate(curve.lines):
        place, numbered = (*where, "lines", i), "{x}" in (line.metric or curve.y)
        if isinstance(experiment, Property) and (line.arms or not numbered):
            fail(document, place, "a line of a property has no 'arms', and '{x}' in the name of its metric")
        if isinstance(experiment, Comparison):
            for j, arm in enumerate(line.arms):
                _check_arm(experiment, arm, document, (*place, "arms", j))
            if numbered and len(line.arms) != 1:
                fail(document, place, f"a line of a metric with '{{x}}' is of one arm; '{line.label}' has {line.arms}")
            if not line.arms:
                fail(document, place, f"the line '{line.label}' has no arms")
        if not numbered and not _PLACE.fullmatch(curve.x):
            fail(document, (*where, "x"), f"'x' is '{curve.x}'; it must be a place in the recipe, as 'model.lr'")


def _check_tuning(experiment: Comparison, tuning: Tuning, document: Document, where: Location) -> None:
    for key in ("seeds", "knobs", "arms"):
        if not getattr(tuning, key):
            fail(document, (*where, key), f"'{key}' is empty")
    for i, seed in enumerate(tuning.seeds):
        if seed < LOOKS[-1]:
            own = f"seeds 0 to {LOOKS[-1] - 1} are those of the looks; tuning takes others, as 100"
            fail(document, (*where, "seeds", i), f"entry {i + 1} of 'seeds' is {seed}; {own}")
    for knob, values in tuning.knobs.items():
        if not _PLACE.fullmatch(knob):
            fail(document, (*where, "knobs", knob), f"the knob '{knob}' must be a place in the recipe, as 'model.lr'")
        if not values:
            fail(document, (*where, "knobs", knob), f"the knob '{knob}' has no values")
    for i, arm in enumerate(tuning.arms):
        _check_arm(experiment, arm, document, (*where, "arms", i))


def _check_equal_tuning(experiment: Comparison, claim: Claim, document: Document, where: Location) -> None:
    """Method and baseline of the primary claim are tried equally often, by the same knobs where both have them."""
    sides = (claim.method, claim.baseline)
    tries = [experiment.tries(arm) for arm in sides]
    if tries[0] != tries[1]:
        told = " and ".join(f"'{arm}' {count}" for arm, count in zip(sides, tries, strict=True))
        fail(document, where, f"the arms of the primary claim need the same number of tries; {told}")
    if tries[0] == 0:
        fail(document, where, f"the arms of the primary claim, '{sides[0]}' and '{sides[1]}', are not among the tuned")
    knobs = [{knob for tuning in experiment.tuned(arm) for knob in tuning.knobs} for arm in sides]
    if knobs[0] != knobs[1] and not any(tuning.reason for arm in sides for tuning in experiment.tuned(arm)):
        differing = ", ".join(sorted(knobs[0] ^ knobs[1]))
        fail(
            document,
            where,
            f"'{sides[0]}' and '{sides[1]}' are tuned by different knobs ({differing}); say why in 'reason'",
        )


def _check_card(card: Card, document: Document) -> None:
    for key, folder in (("slug", card.folder), ("family", card.folder.parent)):
        if getattr(card, key) != folder.name:
            fail(document, (key,), f"'{key}' is '{getattr(card, key)}', but its folder is '{folder.name}'")
    if card.surveyed and not card.authors:
        fail(document, ("authors",), "'authors' is empty; list full names")
    recipes = sorted(path.name for path in card.folder.glob("full*.yaml"))
    if card.no_full is not None and recipes:
        fail(document, ("no_full",), f"'no_full' says that there is no full recipe; beside the card is {recipes[0]}")
    rows = [row.id for row in card.published if row.id is not None]
    for i, row in enumerate(card.published):
        if row.id is not None and row.id in rows[: rows.index(row.id)] + rows[rows.index(row.id) + 1 :]:
            fail(document, ("published", i, "id"), f"a second published row has the id '{row.id}'")
    for i, experiment in enumerate(card.experiments):
        for j, claim in enumerate(getattr(experiment, "claims", ())):
            if claim.published is not None and claim.published not in rows:
                where = ("experiments", i, "claims", j, "published")
                known = ", ".join(rows) or "none"
                fail(document, where, f"no published row has the id '{claim.published}'; ids: {known}")
    _check_primary(card, document)


def _check_primary(card: Card, document: Document) -> None:
    """Exactly one claim or property of a surveyed paper is its central one; another paper need have none."""
    found: list[Location] = []
    for i, experiment in enumerate(card.experiments):
        where: Location = ("experiments", i)
        parts: list[tuple[Location, Claim | Property]]
        if isinstance(experiment, Property):
            parts = [(where, experiment)]
        else:
            parts = [((*where, "claims", j), claim) for j, claim in enumerate(experiment.claims)]
        for place, part in parts:
            if part.primary and part.control:
                fail(document, (*place, "control"), "a control of our own cannot be the paper's primary claim")
            if part.primary:
                found.append((*place, "primary"))
    if len(found) > 1:
        first = document.at(found[0])
        fail(document, found[1], f"a second claim is marked 'primary: true'; the first stands at {first}")
    if card.surveyed and not found:
        fail(document, ("experiments",), "no claim is marked 'primary: true'; mark the paper's central one")
