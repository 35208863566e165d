"""A paper's card: identity, published numbers, experiments and the claims they test (see `card_file`)."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.experiments.schema import closest

LOOKS = (5, 10)
"""How many seeds a comparison is looked at with: at the second only if its primary claim is undecided at the first."""


def untrained(arm: str) -> str:
    """The name in the records of an arm's network as it is before training."""
    return f"{arm}@untrained"


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
    """One line on the likely reason of a difference whose interval excludes zero, written after the runs."""
    primary: bool = False
    """The paper's central claim: exactly one claim or property of a surveyed paper is."""
    control: bool = False
    """A control of our own: listed apart, never counted among the paper's verdicts."""
    margin: float | None = None
    """The smallest difference of interest, in the metric's unit; by default `verdict.MARGIN` of the headroom from the
    best floor to the ceiling."""
    ceiling: float | None = None
    """The metric's best value; by default 1, or 0 where lower is better."""
    learns: bool | str = True
    """The precondition that the baseline beats its own untrained network and the floor, or why there is none here."""
    unit: str = "item"
    """What a test item is, as in "query" or "speaker"."""


@dataclass(frozen=True)
class Tuning:
    """Which knobs of which arms were tried, on validation data and with seeds of their own."""

    metric: str
    """The name on validation data."""
    seeds: tuple[int, ...]
    knobs: dict[str, tuple[Any, ...]]
    """The values tried, by the place in the recipe, as in `model.lr`; several knobs make a grid."""
    arms: tuple[str, ...]
    better: Literal["higher", "lower"] = "higher"
    reason: str | None = None
    """Why the arms of a claim are tuned by different knobs, where they are."""

    @property
    def tries(self) -> int:
        """How many settings of each arm were tried."""
        return math.prod(len(values) for values in self.knobs.values())


@dataclass(frozen=True)
class Comparison:
    """Arms trained by one recipe over the seeds of a look, and claims about their differences."""

    name: str
    kind: Literal["compare"]
    recipe: str
    arms: dict[str, Arm]
    claims: tuple[Claim, ...]
    text: str | None = None
    tuning: tuple[Tuning, ...] = ()

    @property
    def seeds(self) -> int:
        """Those of the first look."""
        return LOOKS[0]

    @property
    def primary(self) -> Claim | None:
        """The paper's central claim, if it is one of these."""
        return next((claim for claim in self.claims if claim.primary), None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that claims are about, each once, in the order of the card."""
        return tuple(dict.fromkeys(claim.metric for claim in self.claims))

    def metrics_of(self, arm: str) -> tuple[str, ...]:
        """Those of the claims that compare this arm: an arm that writes no captions need not be scored by them."""
        return tuple(dict.fromkeys(c.metric for c in self.claims if arm in (c.method, c.baseline)))

    def tuned(self, arm: str) -> tuple[Tuning, ...]:
        """What was tried of an arm."""
        return tuple(tuning for tuning in self.tuning if arm in tuning.arms)

    def tries(self, arm: str) -> int:
        """How many settings of an arm were tried."""
        return sum(tuning.tries for tuning in self.tuned(arm))


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
    primary: bool = False
    """As in `Claim`."""
    control: bool = False
    """As in `Claim`."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("deviation",)


Experiment = Comparison | Property


@dataclass(frozen=True)
class Processes:
    """How the test that two processes follow one trains the paper: what it changes in `mini.yaml`."""

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 3e-4
    """Largest relative difference of the losses of four steps. float32 sums in another order, which the steps compound,
    are off by up to 1e-4; a wider one needs its `why`."""
    why: str | None = None
    """The reason for what is changed, or for the tolerance."""


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
    processes: Processes | None = None

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
