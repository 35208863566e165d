"""Numbers as tables, figures and the console print them."""

import math

from common.experiments.paired import Interval

NOTHING = "—"


def number(value: float, scale: float | None = None, sign: bool = False) -> str:
    """Three decimals; four where `scale` (default: the value) is below 0.01, three digits where it is extreme."""
    scale = abs(value) if scale is None else scale
    if not math.isfinite(value):
        return str(value)
    style = ".3f" if scale == 0 or 0.01 <= scale < 1000 else ".4f" if 0.001 <= scale < 0.01 else ".2e"
    return format(value, f"{'+' if sign else ''}{style}")


def with_interval(estimate: Interval | None, sign: bool = False) -> str:
    """A mean with its interval, "0.921 [0.910, 0.932]"; the mean alone where one seed gives no interval."""
    if estimate is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return number(estimate.mean, sign=sign)
    scale = max(abs(estimate.mean), abs(estimate.low), abs(estimate.high))
    low, high = number(estimate.low, scale, sign), number(estimate.high, scale, sign)
    return f"{number(estimate.mean, scale, sign)} [{low}, {high}]"


def with_spread(estimate: Interval | None) -> str:
    """A mean with the standard deviation over the seeds, "0.921 (0.004)"; the mean alone for one seed."""
    if estimate is None:
        return NOTHING
    if estimate.std is None:
        return number(estimate.mean)
    return f"{number(estimate.mean)} ({number(estimate.std, abs(estimate.mean))})"


def deviation(value: float, tolerance: float) -> str:
    """ "2.2e-15 of 1e-10"; three decimals where two digits could not tell the one from the other: "1.004 of 0.970"."""
    style = ".3f" if 0.1 <= tolerance < 10 and tolerance / 2 <= value <= tolerance * 2 else ".2g"
    return f"{value:{style}} of {tolerance:{style}}"


def probability(p: float) -> str:
    """Two digits, and no more zeros than say something: "0.032", "< 0.0001"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def duration(seconds: float) -> str:
    """Rounded for people: "8 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
