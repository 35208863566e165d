"""Figures as SVG that come out byte for byte the same from the same numbers and read on light and on dark pages."""

import hashlib
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.experiments.paired import Interval
from common.experiments.texts import with_interval, with_spread
from common.lines import split_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A browser does not always tell an embedded SVG which theme the page has, so the ground is transparent and every
# colour is a mid-tone, near 4:1 or better on white and on GitHub's dark ground. The hues are Okabe and Ito's, which
# colour-blind readers tell apart, and each verdict has its own marker too.
INK = "#7a7d80"
STYLE = {
    "reproduced": ("#1f83c4", "o"),
    "contradicted": ("#c2559a", "X"),
    "no difference": ("#2a9274", "s"),
    "undecided": ("#c9720f", "D"),
    "no test": (INK, "v"),
    "not run": (INK, "."),
}
ROW, HEAD, FOOT = 0.25, 0.34, 0.34  # inches: one row, a panel's title, its axis
PLOT, RIGHT, EDGE = 4.0, 2.3, 0.1
TITLE, HEIGHT = 0.8, 2.2  # of a plot of lines: what is left of it, and how tall it is
_FILL = {"-": "full", "--": "none"}  # what tells the sixth group of dots from the first
LETTER, LABEL = 0.07, 80  # inches that a letter of a label takes, and how many are shown at most


@dataclass(frozen=True)
class Difference:
    """One row of a forest plot, turned towards the claim: positive on the claimed side."""

    label: str
    metric: str
    """The panel it stands in."""
    difference: Interval
    values: tuple[float, ...]
    """One for each pair of seeds."""
    verdict: str
    margin: float | None = None


@dataclass(frozen=True)
class Arm:
    """The values of one arm, one for each seed."""

    label: str
    values: tuple[float, ...]
    mean: Interval


@dataclass(frozen=True)
class Check:
    """The deviations of a property, one for each seed, and what it allows."""

    label: str
    values: tuple[float, ...]
    tolerance: float

    def ratios(self) -> list[float]:
        """Deviations in units of the tolerance, kept within what a logarithmic axis can show."""
        least, most = 1e-6, 1e6
        if self.tolerance == 0:
            return [most if value else least for value in self.values]
        return [min(max(abs(value) / self.tolerance, least), most) for value in self.values]


@dataclass(frozen=True)
class Trace:
    """One line of a plot."""

    label: str
    points: tuple[tuple[float, tuple[float, ...]], ...]
    """(x, the values of all seeds), by x."""


@dataclass(frozen=True)
class Plot:
    """Lines over one axis."""

    title: str
    x: str
    """What the axis shows."""
    lines: tuple[Trace, ...]
    log: bool = False
    """Whether it is logarithmic."""
    log_y: bool = False
    """Whether the other axis is."""
    joined: bool = True
    """Whether points are joined to a line in its band."""
    marked: bool = True
    """Whether each point has its marker."""


def curves(plots: Sequence[Plot]) -> "Figure":
    """Draws plots one below the other: each line through the means over seeds, in a band of a standard deviation."""
    from matplotlib.figure import Figure

    longest = max((len(line.label) for plot in plots for line in plot.lines), default=0)
    width, step = TITLE + PLOT + max(RIGHT, 0.7 + LETTER * longest), HEAD + HEIGHT + 2 * FOOT
    height = len(plots) * step + EDGE
    figure = Figure(figsize=(width, height))
    for number, plot in enumerate(plots):
        bottom = height - (number + 1) * step + 2 * FOOT
        _curve(figure.add_axes((TITLE / width, bottom / height, PLOT / width, HEIGHT / height)), plot)
    return figure


def _curve(ax: "Axes", plot: Plot) -> None:
    bare(ax, plot.title)
    ax.set_xlabel(plot.x, color=INK, fontsize=9)
    ax.spines["left"].set_visible(True)
    ax.spines["left"].set_color(INK)
    if plot.log:
        ax.set_xscale("log")
    if plot.log_y:
        ax.set_yscale("log")
    looks = list(STYLE.values())[:5]
    for number, line in enumerate(plot.lines):
        (colour, marker), dash = looks[number % len(looks)], "-" if number < len(looks) else "--"
        x = [place for place, _ in line.points]
        means = [statistics.fmean(values) for _, values in line.points]
        spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in line.points]
        ends = [
            [m - s for m, s in zip(means, spread, strict=True)],
            [m + s for m, s in zip(means, spread, strict=True)],
        ]
        if plot.joined:
            ax.fill_between(x, *ends, color=colour, alpha=0.2, linewidth=0)
        look = {"linestyle": dash} if plot.joined else {"linestyle": "none", "fillstyle": _FILL[dash]}
        marker = marker if plot.marked else ""
        ax.plot(x, means, color=colour, marker=marker, markersize=4, linewidth=1.5, label=line.label, **look)
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.03), frameon=False, labelcolor=INK, fontsize=8)


def forest(rows: Sequence[Difference]) -> "Figure":
    """Draws every difference with its interval, seeds and margin, a panel for each metric since units do not mix.

    Differences are turned so that right of zero is the claimed side.
    """
    panels = _by_metric(rows)
    figure, axes = _stack([[row.label for row in panel] for panel in panels.values()], top=0.45)
    _legend(figure)
    for ax, (metric, panel) in zip(axes, panels.items(), strict=True):
        _differences(ax, panel, metric)
    if not rows:
        figure.text(0.02, 0.2, "No difference is on record yet.", color=INK, fontsize=10)
    return figure


def paper(panels: dict[str, Sequence[Arm]], rows: Sequence[Difference], checks: Sequence[Check]) -> "Figure":
    """Draws one paper: its arms, a dot for each seed and their mean; the differences of its claims; its properties.

    Properties share the last panel: a dot for each seed, the deviation over the tolerance; left of the line holds.
    """
    claims = _by_metric(rows)
    stacked = [*panels.values(), *claims.values(), *([checks] if checks else [])]
    figure, axes = _stack([[row.label for row in panel] for panel in stacked], top=0.45 if rows else 0.05)
    if rows:
        _legend(figure)
    places = iter(axes)
    for title, panel in panels.items():
        _arms(next(places), panel, title)
    for metric, panel in claims.items():
        _differences(next(places), panel, f"{metric}, difference (as claimed: right of zero; band: margin)")
    if checks:
        _checks(next(places), checks)
    return figure


def overview(verdicts: Mapping[str, Sequence[str]], left: Mapping[str, int]) -> "Figure":
    """Draws a mark for each paper, by the verdict on its central claim, in a row for each family.

    Args:
        verdicts: of the papers of each family.
        left: how many of each family have no record yet: empty marks.
    """
    from matplotlib.figure import Figure

    order = list(STYLE)
    widest = max((len(found) + left.get(family, 0) for family, found in verdicts.items()), default=1)
    width, height = 1.7 + 0.3 * max(widest, 14), 0.65 + ROW * len(verdicts)
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((1.5 / width, 0.05 / height, 1 - 1.5 / width, (height - 0.65) / height))
    ax.set_axis_off()
    ax.set_xlim(-0.6, (width - 1.5) / 0.3 - 0.6)
    ax.set_ylim(len(verdicts) - 0.5, -0.5)
    for y, (family, found) in enumerate(verdicts.items()):
        ax.text(-1, y, family, ha="right", va="center", color=INK, fontsize=9)
        for x, verdict in enumerate(sorted((_DRAWN_AS.get(one, one) for one in found), key=order.index)):
            colour, marker = STYLE[verdict]
            ax.plot(x, y, marker=marker, color=colour, markersize=7, markeredgewidth=0)
        for x in range(len(found), len(found) + left.get(family, 0)):
            ax.plot(x, y, marker="o", color=INK, markersize=6, fillstyle="none", markeredgewidth=0.6)
    shown = [verdict for verdict in order if any(_DRAWN_AS.get(v, v) == verdict for f in verdicts.values() for v in f)]
    names = {"reproduced": "reproduced or holds", "contradicted": "contradicted or violated"}
    for verdict in shown:
        colour, marker = STYLE[verdict]
        label = names.get(verdict, verdict)
        ax.plot([], [], linestyle="none", marker=marker, color=colour, markersize=7, markeredgewidth=0, label=label)
    if any(left.values()):
        ax.plot([], [], linestyle="none", marker="o", color=INK, markersize=6, fillstyle="none", label="no record yet")
    place = {"loc": "upper left", "bbox_to_anchor": (0.02 / width, 1 - 0.02 / height), "ncols": 3, "frameon": False}
    figure.legend(**place, labelcolor=INK, fontsize=8)
    return figure


_DRAWN_AS = {"holds": "reproduced", "violated": "contradicted"}


def _by_metric(rows: Sequence[Difference]) -> dict[str, list[Difference]]:
    panels: dict[str, list[Difference]] = {}
    for row in rows:
        panels.setdefault(row.metric, []).append(row)
    return panels


def _differences(ax: "Axes", panel: Sequence[Difference], title: str) -> None:
    _rows(ax, [row.label for row in panel], title)
    ax.locator_params(axis="x", nbins=6)
    ax.axvline(0, color=INK, linewidth=0.8)
    for y, row in enumerate(panel):
        difference(ax, y, row)
        _note(ax, y, with_interval(row.difference, sign=True))


def difference(ax: "Axes", y: float, row: Difference, unit: float = 1.0) -> None:
    """Draws one difference into the row at `y`: band of the margin, dots for seeds, interval.

    Args:
        unit: the height of a row on the axis.
    """
    if row.margin is not None:
        ax.barh(y, 2 * row.margin, left=-row.margin, height=0.7 * unit, color=INK, alpha=0.2, linewidth=0)
    _seeds(ax, y, row.values, unit)
    colour, marker = STYLE[row.verdict]
    _estimate(ax, y - 0.08 * unit, row.difference, colour, marker)


def _arms(ax: "Axes", panel: Sequence[Arm], title: str) -> None:
    # Without intervals: two that overlap say nothing of a difference between pairs.
    _rows(ax, [arm.label for arm in panel], title)
    ax.locator_params(axis="x", nbins=6)
    for y, arm in enumerate(panel):
        _seeds(ax, y, arm.values)
        ax.plot(arm.mean.mean, y - 0.08, marker="|", color=INK, markersize=9, markeredgewidth=2)
        _note(ax, y, with_spread(arm.mean))


def _checks(ax: "Axes", checks: Sequence[Check]) -> None:
    _rows(ax, [check.label for check in checks], "properties: deviation / tolerance (left of the line holds)")
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.axvline(1, color=INK, linewidth=0.8)
    for y, check in enumerate(checks):
        ratios = check.ratios()
        worst = max(ratios)
        ax.plot(ratios, [y] * len(ratios), linestyle="", marker=".", color=INK, markersize=4)
        shade, shape = STYLE["reproduced" if worst <= 1 else "contradicted"]
        ax.plot(worst, y, color=shade, marker=shape, markersize=6, markeredgewidth=0)
        _note(ax, y, f"largest {max(map(abs, check.values)):.2g}, allowed {check.tolerance:.2g}")


def _seeds(ax: "Axes", y: float, values: Sequence[float], unit: float = 1.0) -> None:
    ax.plot(values, [y + 0.22 * unit] * len(values), linestyle="", marker=".", color=INK, markersize=4)


def render(figure: "Figure", description: str) -> str:
    """Returns the SVG. Its metadata holds a digest of `description`, the numbers drawn, for `same_figure`."""
    import matplotlib

    buffer = io.StringIO()
    metadata = {
        "Date": None,  # the time of drawing would differ each time
        "Title": description.splitlines()[0],
        "Creator": f"matplotlib {matplotlib.__version__}",
        "Description": "sha256 " + hashlib.sha256(description.encode()).hexdigest(),
    }
    # Letters stay letters: a tenth of the bytes of outlines, and they can be searched and read aloud.
    fonts = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"]}
    with matplotlib.rc_context({"svg.hashsalt": "contrastive-papers", **fonts}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return "".join(line.rstrip() + "\n" for line in split_lines(buffer.getvalue()))


def same_figure(left: str, right: str) -> bool:
    """Whether two SVGs show the same numbers: byte for byte, unless different matplotlib versions drew them."""

    def mark(svg: str, tag: str) -> str:
        return svg.partition(f"<dc:{tag}>")[2].partition(f"</dc:{tag}>")[0]

    if mark(left, "creator") == mark(right, "creator"):
        return left == right
    return bool(mark(left, "description")) and mark(left, "description") == mark(right, "description")


def _stack(labels: Sequence[Sequence[str]], top: float) -> tuple["Figure", list["Axes"]]:
    """One column of axes laid out in inches, so that a row is as tall among a hundred as alone."""
    from matplotlib.figure import Figure

    left = 0.3 + LETTER * min(LABEL, max((len(label) for panel in labels for label in panel), default=0))
    width = left + PLOT + RIGHT
    height = top + sum(HEAD + len(panel) * ROW + FOOT for panel in labels) + EDGE + (0 if labels else 0.5)
    figure = Figure(figsize=(width, height))
    axes, y = [], height - top
    for panel in labels:
        y -= HEAD + len(panel) * ROW
        axes.append(figure.add_axes((left / width, y / height, PLOT / width, len(panel) * ROW / height)))
        y -= FOOT
    return figure, axes


def _rows(ax: "Axes", labels: Sequence[str], title: str) -> None:
    short = [label if len(label) <= LABEL else label[: LABEL - 1] + "…" for label in labels]
    ax.set_yticks(range(len(labels)), short, color=INK, fontsize=9)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    bare(ax, title)
    ax.tick_params(axis="y", length=0, labelsize=9)
    ax.margins(x=0.08)


def bare(ax: "Axes", title: str = "") -> None:
    """A title and the axis below, and nothing around."""
    ax.set_facecolor("none")
    ax.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold", pad=4)
    ax.tick_params(colors=INK, labelsize=8, length=3)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(INK)


def _estimate(ax: "Axes", y: float, estimate: Interval, colour: str, marker: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        ax.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    ax.plot(estimate.mean, y, marker=marker, color=colour, markersize=6, markeredgewidth=0)


def _note(ax: "Axes", y: float, text: str) -> None:
    ax.text(1.03, y, text, transform=ax.get_yaxis_transform(), color=INK, fontsize=8, va="center")


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=2, markeredgewidth=0, label=verdict)
        for verdict, (colour, marker) in STYLE.items()
    ]
    figure.legend(handles=handles, loc="upper left", ncols=6, frameon=False, labelcolor=INK, fontsize=9)
