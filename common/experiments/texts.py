"""Numbers as tables, figures and the console print them."""

import math

from common.experiments.verdict import Interval

NOTHING = "—"


def number(value: float, scale: float | None = None, sign: bool = False) -> str:
    """Three decimals; three significant digits where `scale` (default: the value) is below 0.01 or above 1000."""
    scale = abs(value) if scale is None else scale
    plus = "+" if sign else ""
    if not math.isfinite(value):
        return str(value)
    return format(value, f"{plus}.3f" if scale == 0 or 0.01 <= scale < 1000 else f"{plus}.3g")


def with_interval(estimate: Interval | None, sign: bool = False) -> str:
    """A mean with its 95% interval, "0.921 [0.910, 0.932]"; the mean alone where one seed gives no interval."""
    if estimate is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return number(estimate.mean, sign=sign)
    scale = max(abs(estimate.mean), abs(estimate.low), abs(estimate.high))
    low, high = number(estimate.low, scale, sign), number(estimate.high, scale, sign)
    return f"{number(estimate.mean, scale, sign)} [{low}, {high}]"
