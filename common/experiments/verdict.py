"""Does a claim hold? Paired differences between arms, their 95% interval, and the verdict fixed before the runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.experiments.card import Claim, Comparison, Experiment, Property
from common.experiments.records import Record


class Verdict(StrEnum):
    REPRODUCED = "reproduced"
    """The interval of the mean difference lies on the claimed side of zero."""
    DIRECTION_ONLY = "direction only"
    """The mean difference points to the claimed side, and its interval includes zero."""
    NOT_REPRODUCED = "not reproduced"
    HOLDS = "holds"
    """A property: no deviation is above the tolerance."""
    VIOLATED = "violated"
    NOT_RUN = "not run"
    """No seed is on record for all that the claim needs."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% confidence interval (Student's t)."""

    mean: float
    low: float | None
    """None if there is one value only: one value has no interval."""
    high: float | None
    n: int
    std: float | None
    """Sample standard deviation (n - 1); None for one value."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim, put to the test. Values are as measured; only the verdict knows which side was claimed."""

    claim: Claim
    method: Interval | None
    """Over all seeds of the arm, also those that the other arm lacks. None: the arm has no record."""
    baseline: Interval | None
    difference: Interval | None
    """method - baseline, over the seeds that both arms have."""
    seeds: tuple[int, ...]
    """The seeds that both arms have."""
    verdict: Verdict


@dataclass(frozen=True)
class PropertyResult:
    """A property, checked."""

    experiment: Property
    deviation: float | None
    """The largest over the seeds."""
    seeds: tuple[int, ...]
    verdict: Verdict


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student's t interval of independent values.

    Args:
        values: at least one; equal values give an interval of width zero.

    Raises:
        ValueError: there is no value.
    """
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1, None)
    # Equal values must give exactly zero: the rounding error of the mean is no spread.
    spread = 0.0 if min(values) == max(values) else math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = 0.0
    if spread > 0:
        from scipy.special import stdtrit  # scipy.stats takes a second to import; this is its t quantile

        half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, spread)


def arm_values(records: Iterable[Record], arm: str, metric: str) -> dict[int, float]:
    """The value of each seed of an arm; `records` are those of one experiment and recipe (see `records.current`)."""
    return {r.seed: r.metrics[metric] for r in records if r.arm == arm and metric in r.metrics}


def judge_claim(claim: Claim, records: Sequence[Record]) -> ClaimResult:
    """Compares the arms of a claim; `records` are the current ones of one experiment and recipe."""
    method = arm_values(records, claim.method, claim.metric)
    baseline = arm_values(records, claim.baseline, claim.metric)
    seeds = tuple(sorted(method.keys() & baseline.keys()))
    difference = interval([method[s] - baseline[s] for s in seeds]) if seeds else None
    return ClaimResult(
        claim,
        interval(list(method.values())) if method else None,
        interval(list(baseline.values())) if baseline else None,
        difference,
        seeds,
        Verdict.NOT_RUN if difference is None else _verdict(difference, 1 if claim.better == "higher" else -1),
    )


def _verdict(difference: Interval, side: int) -> Verdict:
    if difference.mean * side <= 0:
        return Verdict.NOT_REPRODUCED
    # One seed has no interval, so it can show a direction at best.
    if (
        difference.low is not None
        and difference.high is not None
        and min(difference.low * side, difference.high * side) > 0
    ):
        return Verdict.REPRODUCED
    return Verdict.DIRECTION_ONLY


def judge_property(experiment: Property, records: Sequence[Record]) -> PropertyResult:
    """Compares the largest deviation on record with the tolerance."""
    deviations = arm_values(records, experiment.name, "deviation")
    if not deviations:
        return PropertyResult(experiment, None, (), Verdict.NOT_RUN)
    worst = max(deviations.values(), key=abs)
    holds = abs(worst) <= experiment.tolerance
    return PropertyResult(experiment, worst, tuple(sorted(deviations)), Verdict.HOLDS if holds else Verdict.VIOLATED)


def judge(experiment: Experiment, records: Sequence[Record]) -> list[ClaimResult] | list[PropertyResult]:
    """The result of each claim of an experiment, in the order of the card.

    Args:
        records: current records (see `records.current`) of one recipe file, of this experiment or of the whole paper.
    """
    own = [r for r in records if r.experiment == experiment.name]
    if isinstance(experiment, Comparison):
        return [judge_claim(claim, own) for claim in experiment.claims]
    return [judge_property(experiment, own)]
