"""A paper's card: identity, published numbers, experiments and the claims they test (`paper.yaml`)."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.experiments.schema import check_class, closest, decode, fail
from common.experiments.yaml_lines import Document, Location, load


@dataclass(frozen=True)
class Published:
    """One published number and where it stands."""

    dataset: str
    metric: str
    method: str
    value: float
    source: str
    """Table, figure or section of the paper, or the file of the authors' repository."""
    baseline: str | None = None
    baseline_value: float | None = None
    url: str | None = None
    protocol: str | None = None
    id: str | None = None
    """The name by which a claim refers to this row."""


@dataclass(frozen=True)
class Parameters:
    """How many parameters the published model has."""

    recipe: str
    """The full recipe that must build this many, within 1%."""
    count: float
    source: str


@dataclass(frozen=True)
class Arm:
    """One way of training in a comparison: what it changes in the recipe."""

    name: str
    label: str
    """The name in tables and figures."""
    overrides: dict[str, Any]
    """Merged over the recipe: some of `model`, `data`, `trainer`."""


@dataclass(frozen=True)
class Claim:
    """One arm beats another in one metric: written down before anything runs."""

    text: str
    method: str
    baseline: str
    metric: str
    """The name in the records, with its protocol, as in `knn20_cosine/top1`."""
    better: Literal["higher", "lower"]
    published: str | None = None
    """The `id` of the published row that makes the same comparison."""
    remark: str | None = None
    """One line on the likely reason of the verdict, written after the runs; it changes nothing else."""


@dataclass(frozen=True)
class Comparison:
    """Arms trained by one recipe over several seeds, and claims about their differences."""

    name: str
    kind: Literal["compare"]
    recipe: str
    seeds: int
    arms: dict[str, Arm]
    claims: tuple[Claim, ...]
    text: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that claims are about, each once, in the order of the card."""
        return tuple(dict.fromkeys(claim.metric for claim in self.claims))

    def metrics_of(self, arm: str) -> tuple[str, ...]:
        """Those of the claims that compare this arm: an arm that writes no captions need not be scored by them."""
        return tuple(dict.fromkeys(c.metric for c in self.claims if arm in (c.method, c.baseline)))


@dataclass(frozen=True)
class Property:
    """An identity, a bound or a gradient formula, checked numerically over several seeds."""

    name: str
    kind: Literal["property"]
    check: str
    """"module:function"; the function takes a seed and returns its deviation, or a dict of named deviations."""
    tolerance: float
    seeds: int
    claim: str
    where: str
    """The equation or section of the paper."""
    text: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("deviation",)


Experiment = Comparison | Property


@dataclass(frozen=True)
class Card:
    """What `paper.yaml` says. `path` and `root` are where it was found."""

    slug: str
    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    arxiv: str | None
    code: str | None
    family: str
    surveyed: bool
    modalities: tuple[str, ...]
    idea: str
    loss: str
    published: tuple[Published, ...]
    differences: tuple[str, ...]
    experiments: tuple[Experiment, ...]
    path: Path = field(metadata={"from_folder": True})
    root: Path = field(metadata={"from_folder": True})
    parameters: Parameters | None = None

    @property
    def folder(self) -> Path:
        return self.path.parent

    def experiment(self, name: str) -> Experiment:
        """Raises: UserError if the card has no such experiment."""
        for experiment in self.experiments:
            if experiment.name == name:
                return experiment
        names = [e.name for e in self.experiments]
        known = ", ".join(names) or "none"
        raise UserError(f"{self.slug} has no experiment '{name}'{closest(name, names)}; it has: {known}")

    def published_row(self, claim: Claim) -> Published | None:
        """The published row that makes the claim's comparison, if the card names one."""
        return next((row for row in self.published if row.id == claim.published and row.id is not None), None)


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
        kinds = {"compare": Comparison, "property": Property}
        if not isinstance(entry, dict) or entry.get("kind") not in kinds:
            kind = entry.get("kind") if isinstance(entry, dict) else entry
            place = (*where, "kind") if isinstance(entry, dict) and "kind" in entry else where
            fail(document, place, f"an experiment needs 'kind: compare' or 'kind: property', found {kind!r}")
        entry = dict(entry)
        arms = entry.get("arms")
        if entry["kind"] == "compare" and isinstance(arms, dict):
            entry["arms"] = {}
        experiment = decode(kinds[entry["kind"]], document, where, entry)
        if isinstance(experiment, Comparison):
            experiment = replace(experiment, arms=_arms(document, (*where, "arms"), arms))
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


def _check_experiment(experiment: Experiment, document: Document, where: Location) -> None:
    # Names become folders under logs/ and words on the command line.
    if not _NAME.fullmatch(experiment.name):
        fail(document, (*where, "name"), f"'{experiment.name}' must be lower case letters, digits or '_.-'")
    if experiment.seeds < 1:
        fail(document, (*where, "seeds"), f"'seeds' is {experiment.seeds}; it must be at least 1")
    if isinstance(experiment, Property):
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
            arm = getattr(claim, side)
            if arm not in experiment.arms:
                known = f"{closest(arm, experiment.arms)}; the arms are: {', '.join(experiment.arms)}"
                fail(document, (*where, "claims", i, side), f"'{side}' names the unknown arm '{arm}'{known}")
        if claim.method == claim.baseline:
            fail(document, (*where, "claims", i, "baseline"), f"'{claim.method}' is compared with itself")


def _check_card(card: Card, document: Document) -> None:
    for key, folder in (("slug", card.folder), ("family", card.folder.parent)):
        if getattr(card, key) != folder.name:
            fail(document, (key,), f"'{key}' is '{getattr(card, key)}', but its folder is '{folder.name}'")
    if card.surveyed and not card.authors:
        fail(document, ("authors",), "'authors' is empty; list full names")
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
