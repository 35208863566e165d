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
    """The data, with the split if the paper names one."""
    metric: str
    """With its unit, as in "top-1 (%)"."""
    method: str
    """As the paper calls it."""
    value: float
    """In the metric's unit, as printed."""
    source: str
    """Table, figure or section of the paper, or the file of the authors' repository."""
    baseline: str | None = None
    """What the paper compares the method with, in the same row or table."""
    baseline_value: float | None = None
    """Its value."""
    url: str | None = None
    """Where the number can be seen, if not in the paper."""
    protocol: str | None = None
    """How it was measured, where that is not obvious."""
    id: str | None = None
    """The name by which a claim refers to this row."""


@dataclass(frozen=True)
class Parameters:
    """How many parameters the published model has."""

    recipe: str
    """The full recipe that must build this many, within 1%."""
    count: float
    """Of all parameters, as in 110.0e+6."""
    source: str
    """Where the paper or the code says so."""


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
    """The claim as a sentence."""
    method: str
    """The arm that is claimed to be better."""
    baseline: str
    """The arm that it is compared with."""
    metric: str
    """The name in the records, with its protocol, as in `knn20_cosine/top1`."""
    better: Literal["higher", "lower"]
    """Which values of the metric are better."""
    published: str | None = None
    """The `id` of the published row that makes the same comparison."""
    remark: str | None = None
    """One line on the likely reason of a difference whose interval excludes zero, written after the runs."""
    primary: bool = False
    """The paper's central claim: exactly one claim or property of a surveyed paper is."""
    control: bool = False
    """A control of our own: listed apart, never counted among the paper's verdicts."""
    margin: float | None = None
    """The smallest difference of interest, in the metric's unit; by default 2% (`verdict.MARGIN`) of the headroom from
    the best floor to the ceiling."""
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
    """Other seeds than those of the looks, as 100."""
    knobs: dict[str, tuple[Any, ...]]
    """The values tried, by the place in the recipe, as in `model.lr`; several knobs make a grid."""
    arms: tuple[str, ...]
    """The arms that were tuned so."""
    better: Literal["higher", "lower"] = "higher"
    """Which values of the metric are better."""
    reason: str | None = None
    """Why the arms of a claim are tuned by different knobs, where they are."""

    @property
    def tries(self) -> int:
        """How many settings of each arm were tried."""
        return math.prod(len(values) for values in self.knobs.values())


@dataclass(frozen=True)
class Line:
    """One line of a curve."""

    label: str
    """Its name beside the curve."""
    arms: tuple[str, ...] = ()
    """Those whose runs it shows; a property has none."""
    metric: str | None = None
    """What it shows, where that is not the curve's `y`."""


@dataclass(frozen=True)
class Curve:
    """What `papers report` draws as lines, from the metrics on record: means over seeds, with their deviation."""

    x: str
    """A place in the recipe, as in `model.temperature` or `data.sizes.0`, whose value in each arm of a line is the
    place of its point; or, where the metric has `{x}` in its name, what these numbers are, as in "step"."""
    y: str
    """The metric, as in `modality_gap`, or with `{x}` for a number in the names of many, as in `modality_gap/step{x}`,
    with a point for each that is on record."""
    lines: tuple[Line, ...]
    """What is drawn; an arm may be a point of several."""
    log: bool = False
    """The axis of x is logarithmic; a point at 0 or below is left out."""
    log_y: bool = False
    """The axis of y is logarithmic, too."""


@dataclass(frozen=True)
class Plane:
    """What `papers report` draws as a dot for each run on record, over two of its metrics."""

    x: str
    """The metric on the axis, as in `alignment/views`."""
    y: str
    """The metric above it."""
    arms: tuple[str, ...] = ()
    """Whose runs are drawn; those of all arms by default."""


@dataclass(frozen=True)
class Comparison:
    """Arms trained by one recipe over the seeds of a look, and claims about their differences."""

    name: str
    """A word for the command line, as in `papers rerun SLUG --experiment NAME`."""
    kind: Literal["compare"]
    """What it is."""
    recipe: str
    """The file beside the card that all arms start from."""
    arms: dict[str, Arm]
    """The ways of training that are compared, by their names."""
    claims: tuple[Claim, ...]
    """What is to be shown, before anything runs."""
    text: str | None = None
    """More about it, for the page."""
    tuning: tuple[Tuning, ...] = ()
    """What was tried before; `papers tune` runs it."""
    curves: tuple[Curve, ...] = ()
    """What is drawn beside the arms and the claims."""
    planes: tuple[Plane, ...] = ()
    """As `curves`, a dot for each run."""

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
    """A word for the command line."""
    kind: Literal["property"]
    """What it is."""
    check: str
    """"module:function"; the function takes a seed and returns its deviation, or a dict of named deviations; or one of
    these and a dict of what is kept beside it to be drawn."""
    tolerance: float
    """The largest deviation that is allowed."""
    seeds: int
    """How many seeds the function is called with, from 0 on."""
    claim: str
    """What holds, as a sentence."""
    where: str
    """The equation or section of the paper."""
    text: str | None = None
    """More about it, for the page."""
    primary: bool = False
    """As in `Claim`."""
    control: bool = False
    """As in `Claim`."""
    curves: tuple[Curve, ...] = ()
    """What is drawn of its deviations, or of what is kept beside them."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("deviation",)


Experiment = Comparison | Property


@dataclass(frozen=True)
class Processes:
    """How the test that two processes follow one trains the paper: what it changes in `mini.yaml`."""

    model: dict[str, Any] = field(default_factory=dict)
    """Changes to the recipe's model, as in an arm."""
    data: dict[str, Any] = field(default_factory=dict)
    """Changes to its data."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Changes to its trainer."""
    tolerance: float = 3e-4
    """Largest relative difference of the losses of four steps. float32 sums in another order, which the steps compound,
    are off by up to 1e-4; a wider one needs its `why`."""
    why: str | None = None
    """The reason for what is changed, or for the tolerance."""


@dataclass(frozen=True)
class Card:
    """What `paper.yaml` says. `path` and `root` are where it was found."""

    slug: str
    """The name of the folder, a word for the command line."""
    title: str
    """Of the paper, whole."""
    authors: tuple[str, ...]
    """Full names, in order; "Family, Given" where the last word is not the family name."""
    year: int
    """Of the venue."""
    venue: str
    """As in "NeurIPS 2020"; "arXiv" for a preprint."""
    arxiv: str | None
    """The number, in quotes."""
    code: str | None
    """Where the authors' code is."""
    family: str
    """The name of the folder above."""
    surveyed: bool
    """Whether it is a paper of the survey; false for a baseline or a method of one's own."""
    modalities: tuple[str, ...]
    """What it reads, as in [image, text]."""
    idea: str
    """In one or two sentences."""
    loss: str
    """As a formula in plain text."""
    published: tuple[Published, ...]
    """Numbers of the paper that were seen there."""
    differences: tuple[str, ...]
    """Where the paper and the authors' code, or ours, do not agree."""
    experiments: tuple[Experiment, ...]
    """Comparisons and properties that test the paper's claims."""
    path: Path = field(metadata={"from_folder": True})
    root: Path = field(metadata={"from_folder": True})
    parameters: Parameters | None = None
    """The size of the published model, if the paper says it."""
    processes: Processes | None = None
    """For the test of two processes."""
    no_full: str | None = None
    """Why there is no full recipe: what the paper is, that it trains no network."""

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
