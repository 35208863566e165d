"""Statistics of a few paired seeds: intervals, tests, what could have been found, and what the test items add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.experiments.items import Items

# scipy.stats takes a second to import; scipy.special holds its distributions. Both are loaded where they are used, so
# that `papers list` does without.

POWER = 0.8
"""The chance of finding the difference that is called detectable."""


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval (Student's t)."""

    mean: float
    low: float | None
    """None if there is one value only: one value has no interval."""
    high: float | None
    n: int
    std: float | None
    """Sample standard deviation (n - 1); None for one value."""

    @property
    def side(self) -> int:
        """1 if the interval lies above zero, -1 if below, 0 if it includes zero or there is none."""
        if self.low is None or self.high is None:
            return 0
        return (self.low > 0) - (self.high < 0)

    def within(self, margin: float) -> bool:
        """Whether the interval lies within plus and minus `margin`."""
        return self.low is not None and self.high is not None and -margin <= self.low and self.high <= margin


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
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, spread)


def p_value(difference: Interval) -> float | None:
    """Two-sided p of the paired t test that the mean difference is zero; None for one pair."""
    if difference.std is None:
        return None
    if difference.std == 0:
        return float(difference.mean == 0)
    from scipy.special import stdtr

    t = abs(difference.mean) * math.sqrt(difference.n) / difference.std
    return float(2 * stdtr(difference.n - 1, -t))


def detectable(difference: Interval, confidence: float) -> float | None:
    """The mean difference that as many seeds of this spread find with a chance of 80%; None for one pair.

    The smallest d with P(T > t(n - 1; confidence)) = 0.8, T noncentral t with noncentrality d sqrt(n) / s.
    """
    if difference.std is None:
        return None
    from scipy.special import nctdtrinc, stdtrit

    df = difference.n - 1
    return float(nctdtrinc(df, 1 - POWER, stdtrit(df, 0.5 + confidence / 2))) * difference.std / math.sqrt(df + 1)


def item_error(method: "Sequence[Items]", baseline: "Sequence[Items]") -> float | None:
    """Standard error of the mean difference over the test items: what another draw of items might change.

    Each item's difference is first averaged over the seeds; its standard deviation over the items kept is divided by
    the root of the number scored.

    Args:
        method: one for each seed, in the order of the seeds.
        baseline: the same seeds.

    Returns:
        None where the runs did not score the same items.
    """
    import numpy as np

    runs = [*method, *baseline]
    if not runs or len({(len(run.values), run.total) for run in runs}) != 1:
        return None
    sides = [np.mean([np.asarray(run.values, dtype=np.float64) for run in side], axis=0) for side in (method, baseline)]
    differences = sides[0] - sides[1]
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    return float(differences.std(ddof=1)) / math.sqrt(runs[0].total)


def false_discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's q of each p: the share of false ones among all that are at most this p."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(p_values)] if p_values else []
