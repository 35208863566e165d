"""One run, as it is planned and handed around, and what comes back of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common.experiments.card import untrained
from common.experiments.loss_curves import LossCurve
from common.experiments.records import Record

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = "last.ckpt"
"""The file in a run's log folder that holds them."""


@dataclass(frozen=True)
class Run:
    """One arm and seed of an experiment, ready to be sent to a worker."""

    paper: str
    experiment: str
    arm: str
    seed: int
    recipe: str
    recipe_hash: str
    root: Path
    metrics: tuple[str, ...]
    """The metrics that the claims on this arm are about."""
    config: dict[str, Any] | None = None
    """The recipe of a comparison, with the arm's overrides and the seed."""
    check: str | None = None
    """The "module:function" of a property."""
    expected_seconds: float | None = None
    """As earlier runs took; None if there are none."""
    budget_seconds: float | None = field(default=None, compare=False)
    """As its recipe says that it takes at most."""
    split: str = "test"
    """What it is scored on."""
    knobs: dict[str, Any] | None = None
    """The values that are tried, if it is a try of `papers tune`."""
    planned: str = field(default="", compare=False)
    """When the record was looked at for it; UTC, ISO 8601."""
    keeps_weights: bool = False
    """Whether the weights that were scored are left beside the logs."""
    twin: Record | None = None
    """The record of the same training in another experiment or paper, if there is one."""

    @property
    def name(self) -> str:
        arm = "" if self.arm == self.experiment else f" {self.arm}"
        return f"{self.paper}/{self.experiment}{arm}{self._tried(' ')} seed {self.seed}"

    @property
    def training(self) -> str:
        """The same for runs of one training: those of experiments that share an arm."""
        if self.config is None or self.knobs is not None:
            return self.name
        return f"{self.paper} {self.recipe_hash} seed {self.seed}"

    @property
    def guessed_seconds(self) -> float | None:
        """As earlier runs took, or else as its recipe allows it to take."""
        return self.budget_seconds if self.expected_seconds is None else self.expected_seconds

    @property
    def keeps_items(self) -> bool:
        """Whether the scores of its test items are kept: an untrained network is compared by its metrics alone."""
        return self.split == "test" and not self.arm.endswith(untrained(""))

    def log_folder(self, logs: Path) -> Path:
        return logs / self.paper / self.experiment / f"{self.arm}{self._tried('@')}" / f"seed{self.seed}"

    def checkpoint(self, logs: Path) -> Path:
        """Where its weights are left, if it keeps them."""
        return self.log_folder(logs) / WEIGHTS

    def _tried(self, before: str) -> str:
        tried = " ".join(f"{name}={value}" for name, value in (self.knobs or {}).items())
        return before + tried.replace("/", "-") if tried else ""


class Findings(NamedTuple):
    """What a run found out."""

    benchmark: str
    metrics: dict[str, float]
    steps: int
    device: str
    data_hash: str
    first_losses: tuple[float, ...]
    means: tuple[str, ...]
    """The metrics that are means over units."""
    items: dict[str, "np.ndarray"]
    """Of those that claims are about: the value of each unit."""
    curve: LossCurve | None = None
    """How the training loss went."""


class Result(NamedTuple):
    """What a worker sends back: the fields of a record that the parent cannot know."""

    scores: Findings
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    threads: int
    capability: str
    processor: str
