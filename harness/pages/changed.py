"""A changed arm beside its record, in words and, where one of its keys is swept, as a figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from common.experiments.paired import Interval, interval
from common.experiments.texts import number, with_interval, with_spread
from common.experiments.verdict import ITEM_ERRORS, ClaimResult, Verdict
from harness.pages import claim_text, figures
from harness.running.change import Beside, Change, Found, values_of
from harness.running.knobs import said

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE = (
    "This is no verdict of the table. There the claim, the values and the seeds were fixed before anything ran, and "
    "values are chosen on validation data (`papers tune`); these numbers are of the test data, so the best of several "
    "values looks better here than it is."
)
SIDES = {Verdict.REPRODUCED: "better", Verdict.CONTRADICTED: "worse"}


def short(result: ClaimResult) -> str:
    """What the rule makes of a difference, in a word or two."""
    if result.difference is None:
        return "not run"
    if result.verdict is Verdict.NOT_RUN:
        return f"{len(result.seeds)} seeds"
    return SIDES.get(result.verdict, str(result.verdict))


def words(result: ClaimResult) -> str:
    """The same as a sentence."""
    if result.difference is None:
        return "not run."
    if result.verdict is Verdict.NOT_RUN:
        return f"fewer seeds than the rule looks at: {result.reason}."
    if result.verdict is Verdict.NO_DIFFERENCE:
        return f"no difference: the interval lies within the margin of {number(result.margin or 0)}."
    if result.verdict in SIDES:
        side = SIDES[result.verdict]
        return (
            f"{side}: the interval lies on the {side} side of 0, and |mean d| exceeds {ITEM_ERRORS} SE over the test "
            f"items."
        )
    if result.reason:
        return f"{result.verdict}: {result.reason}."
    return f"{result.verdict}: the interval includes 0 and reaches beyond the margin."


def title(asked: Change) -> str:
    """ "simcse/unsupervised (mini.yaml): model.temperature=0.1 where the record has 0.05"."""
    choice, first = asked.choice, asked.arms[0]
    parts = []
    for key, before in asked.recorded.items():
        now = "several values" if key == asked.swept else said(first.values[key])
        parts.append(f"{key} {now} where the record has {said(before)}")
    return f"{choice.where} ({choice.recipe}), arm {choice.arm}: {'; '.join(parts)}"


def arms(asked: Change, found: Sequence[Found], beside: Beside) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: the changed arms, the recorded one and the other, each with mean and standard deviation."""
    choice = asked.choice
    groups = [(one.changed.arm.label, one.records) for one in found]
    groups += [
        (f"{beside.trial.label(arm)}, {what}", tuple(beside.records(arm)))
        for arm, what in ((choice.arm, "on record"), (choice.other, choice.other_is))
    ]
    rows = [
        (label, str(len(records)), *(_spread(values_of(records, metric)) for metric in asked.metrics))
        for label, records in groups
    ]
    return ("arm", "seeds", *asked.metrics), rows


def _spread(values: Sequence[float]) -> str:
    return with_spread(interval(values) if values else None)


def differences(asked: Change, one: Found) -> list[str]:
    """The paired differences of a changed arm, four lines."""
    claim, choice = asked.choice.claim, asked.choice
    lower = "lower" if claim.better == "lower" else "higher"
    lines = []
    for against, result in (
        ("the recorded arm", one.against_record),
        (f"{choice.other_is}, {choice.other}", one.against_other),
    ):
        lines.append(f"Against {against}: {words(result)}")
        if result.difference is not None:
            lines.append(f"  {claim.metric}, {lower} is better. {claim_text.difference(result)}")
    return lines


def sweep(asked: Change, found: Sequence[Found], beside: Beside) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: a row a value, the recorded one among them."""
    choice = asked.choice
    metric = choice.claim.metric
    rows: dict[int, tuple[str, ...]] = {}
    recorded = beside.values(choice.arm, metric)
    points = [(asked.recorded[str(asked.swept)], None), *((one.changed.values[str(asked.swept)], one) for one in found)]
    for i in _order([value for value, _ in points]):
        value, one = points[i]
        if one is None:
            rows[i] = (said(value), str(len(recorded)), _spread(recorded), "the record", "", "", "")
            continue
        cells = [(with_interval(d.difference, sign=True), short(d)) for d in (one.against_record, one.against_other)]
        rows[i] = (said(value), str(len(one.records)), _spread(values_of(one.records, metric)), *cells[0], *cells[1])
    columns = (str(asked.swept), "seeds", metric, "d to the record", "", f"d to {choice.other}", "")
    return columns, list(rows.values())


def _order(values: Sequence[Any]) -> list[int]:
    """Numbers by size; words as they were asked for, the recorded one first."""
    order = list(range(len(values)))
    return sorted(order, key=lambda i: values[i]) if _are_numbers(values) else order


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


class _Point(NamedTuple):
    """One value of a sweep."""

    x: float
    label: str
    seeds: list[float]
    result: ClaimResult | None
    """Against the record; None for the record itself."""

    @property
    def style(self) -> tuple[str, str]:
        return (figures.INK, "o") if self.result is None else figures.STYLE[str(self.result.verdict)]


def figure(asked: Change, found: Sequence[Found], beside: Beside) -> tuple["Figure", str]:
    """The sweep, above as means with a dot for each seed, below as paired differences from the record.

    Returns:
        The figure and the numbers in it.
    """
    from matplotlib.figure import Figure

    choice, metric = asked.choice, asked.choice.claim.metric
    points, ratio = _points(asked, found, beside)
    drawn = Figure(figsize=(6.2, 4.6))
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    drawn.subplots_adjust(left=0.13, right=0.97, top=0.88, bottom=0.12, hspace=0.22)
    drawn.suptitle(f"{choice.where}: {choice.arm}", x=0.02, ha="left", color=figures.INK, fontsize=10, weight="bold")
    _frame(above, f"{metric}, a dot a seed; grey: on record", log=ratio >= 4)
    _frame(below, "d to the record, with its interval (band: margin)", log=ratio >= 4)
    below.set_xticks([point.x for point in points], [point.label for point in points])
    below.set_xlabel(str(asked.swept), color=figures.INK, fontsize=9)
    if others := beside.values(choice.other, metric):
        above.axhline(interval(others).mean, color=figures.INK, linestyle=":", linewidth=1, label=choice.other)
        above.legend(frameon=False, labelcolor=figures.INK, fontsize=8)
    below.axhline(0, color=figures.INK, linewidth=0.8)
    margin = next((p.result.margin for p in points if p.result is not None and p.result.margin is not None), None)
    if margin is not None:
        below.axhspan(-margin, margin, color=figures.INK, alpha=0.2, linewidth=0)
    told = [title(asked)]
    for point in points:
        colour, marker = point.style
        mean, difference = interval(point.seeds), point.result.difference if point.result is not None else None
        above.plot([point.x] * len(point.seeds), point.seeds, linestyle="", marker=".", color=figures.INK, markersize=4)
        above.plot(point.x, mean.mean, marker=marker, color=colour, markersize=7, markeredgewidth=0)
        _bar(below, point.x, difference or Interval(0.0, None, None, mean.n, None), colour, marker)
        told.append(f"{point.label}: {with_spread(mean)}, d {with_interval(difference, sign=True)}")
    return drawn, "\n".join(told)


def _points(asked: Change, found: Sequence[Found], beside: Beside) -> tuple[list[_Point], float]:
    """The values with a run, the recorded one among them, and how many times the least the largest is."""
    key, metric = str(asked.swept), asked.choice.claim.metric
    series = [(asked.recorded[key], beside.values(asked.choice.arm, metric), None)]
    series += [(one.changed.values[key], values_of(one.records, metric), one.against_record) for one in found]
    series = [one for one in series if one[1]]
    order = _order([value for value, _, _ in series])
    numbers = _are_numbers([value for value, _, _ in series])
    points = [
        _Point(series[i][0] if numbers else float(at), said(series[i][0]), *series[i][1:]) for at, i in enumerate(order)
    ]
    least, most = points[0].x, points[-1].x
    return points, most / least if numbers and least > 0 else 1.0


def _frame(ax: "Axes", name: str, log: bool) -> None:
    if log:
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_facecolor("none")
    ax.set_title(name, loc="left", color=figures.INK, fontsize=9)
    ax.tick_params(colors=figures.INK, labelsize=8, length=3)
    ax.margins(x=0.08, y=0.12)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(figures.INK)


def _bar(ax: "Axes", x: float, estimate: Interval, colour: str, marker: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        ax.plot([x, x], [estimate.low, estimate.high], color=colour, linewidth=2, solid_capstyle="butt")
    ax.plot(x, estimate.mean, marker=marker, color=colour, markersize=6, markeredgewidth=0)
