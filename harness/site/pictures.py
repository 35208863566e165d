"""The site's pictures: a paper's claims, a family's forest, the map of published against reproduced gains.

All are narrow, so that a phone shows them whole with letters that can be read, and their labels stand above what they
name. Colours and markers of verdicts are those of `harness.pages.figures`.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.experiments.texts import number, with_interval
from harness.pages.figures import INK, STYLE, Check, Difference, bare, difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, SIDE = 4.4, 0.2  # inches: the picture, and what is left free at either side
LINE, LETTERS = 0.16, 50  # inches that a line of text takes, and the letters that fit on one
STRIP, TICKS, GAP = 0.3, 0.24, 0.3  # an axis of one row, the numbers below it, and what parts two claims


@dataclass(frozen=True)
class Pair:
    """A claim as it is drawn: both arms seed by seed on the metric's own axis, and their difference on another."""

    title: str
    arms: tuple[str, str]
    """The labels of method and baseline."""
    method: tuple[float, ...]
    baseline: tuple[float, ...]
    marks: dict[str, float]
    """What the arms are held against, as in {"floor": 0.1, "untrained": 0.2}."""
    difference: Difference


@dataclass(frozen=True)
class Point:
    """A claim on the map: percent of what the baseline left to gain, published and ours."""

    label: str
    published: float
    reproduced: float
    verdict: str
    central: bool


class Column:
    """A figure that is filled from the top, in inches, by text and axes."""

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure, self.height, self.y = Figure(figsize=(WIDTH, height)), height, 0.05

    def text(self, text: str, indent: float = 0.0, **style: object) -> None:
        """One line of text."""
        place = ((SIDE + indent) / WIDTH, 1 - (self.y + LINE / 2) / self.height)
        self.figure.text(*place, text, **({"color": INK, "fontsize": 8.5, "va": "center"} | style))
        self.y += LINE

    def marker(self, marker: str, colour: str) -> None:
        """A marker at the left edge of the next line."""
        from matplotlib.lines import Line2D

        x, y = (SIDE + 0.06) / WIDTH, 1 - (self.y + LINE / 2) / self.height
        self.figure.add_artist(Line2D([x], [y], color=colour, marker=marker, markersize=6, markeredgewidth=0))

    def axes(self, height: float) -> "Axes":
        """Axes of that height over the whole width, with room for numbers below."""
        below = (self.height - self.y - height) / self.height
        ax = self.figure.add_axes((SIDE / WIDTH, below, 1 - 2 * SIDE / WIDTH, height / self.height))
        bare(ax)
        ax.margins(x=0.08)
        ax.set_yticks([])
        self.y += height + TICKS
        return ax


def lines(text: str, most: int = 3) -> list[str]:
    """The text in lines that fit, with an ellipsis where it is longer than that."""
    return textwrap.wrap(text, LETTERS, max_lines=most, placeholder=" …")


def paper(pairs: Sequence[Pair], checks: Sequence[Check]) -> "Figure":
    """Draws each claim: where both arms lie between floor and best, and below it the difference that is judged."""
    tall = sum(
        LINE * (len(lines(p.title)) + len(lines(_arms(p))) + len(p.marks) + 2) + 2 * (STRIP + TICKS) + GAP
        for p in pairs
    )
    drawn = Column(0.1 + tall + (_tall(checks) if checks else 0))
    for pair in pairs:
        _pair(drawn, pair)
    if checks:
        _checks(drawn, checks)
    return drawn.figure


def _arms(pair: Pair) -> str:
    return f"● {pair.arms[0]}   ○ {pair.arms[1]}"


def _pair(column: Column, pair: Pair) -> None:
    row = pair.difference
    colour, _ = STYLE[row.verdict]
    for line in lines(pair.title):
        column.text(line, fontweight="bold")
    column.text(f"{row.verdict}: {with_interval(row.difference, sign=True)}", color=colour)
    for line in lines(_arms(pair)):
        column.text(line)
    names = column.y
    column.y += LINE * len(pair.marks)
    ax = column.axes(STRIP)
    ax.locator_params(axis="x", nbins=6)
    ax.plot(pair.baseline, [1] * len(pair.baseline), "o", mfc="none", mec=INK, markersize=5)
    ax.plot(pair.method, [0] * len(pair.method), "o", color=colour, markersize=5, markeredgewidth=0)
    ax.set_ylim(-0.8, 1.8)
    for style, value in zip(("-", ":", "--"), pair.marks.values(), strict=False):
        ax.axvline(value, color=INK, linewidth=1.2, linestyle=style)
    low, high = ax.get_xlim()
    for name, value in pair.marks.items():
        left = (value - low) / (high - low) < 0.5
        at = SIDE / WIDTH + (1 - 2 * SIDE / WIDTH) * (value - low) / (high - low)
        place = (at, 1 - (names + LINE / 2) / column.height)
        text = f"| {name} {number(value)}" if left else f"{name} {number(value)} |"
        column.figure.text(*place, text, color=INK, fontsize=8, va="center", ha="left" if left else "right")
        names += LINE
    ax = column.axes(STRIP)
    ax.locator_params(axis="x", nbins=6)
    ax.axvline(0, color=INK, linewidth=0.8)
    difference(ax, 0, row)
    ax.set_ylim(0.5, -0.5)
    column.text(f"difference in {row.metric}, as claimed →", fontsize=8)
    column.y += GAP


def _tall(checks: Sequence[Check]) -> float:
    return 2 * LINE + sum(LINE * (len(lines(check.label)) + 1.2) for check in checks) + TICKS


def _checks(column: Column, checks: Sequence[Check]) -> None:
    """Properties: a dot for each seed, deviation over tolerance on one logarithmic axis; left of the line holds."""
    column.text("Properties: deviation / tolerance", fontweight="bold")
    ax = column.axes(_tall(checks) - 2 * LINE - TICKS)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.axvline(1, color=INK, linewidth=0.8)
    y = 0.0
    for check in checks:
        y = _label(ax, y, check.label)
        ratios = check.ratios()
        colour, marker = STYLE["reproduced" if max(ratios) <= 1 else "contradicted"]
        ax.plot(ratios, [y + LINE / 2] * len(ratios), marker, color=colour, markersize=5, markeredgewidth=0)
        y += 1.2 * LINE
    ax.set_ylim(y, 0)


def _label(ax: "Axes", y: float, text: str, **style: object) -> float:
    """Writes lines from the left edge down; the axis is in inches. Returns where the next thing goes."""
    for line in lines(text):
        across = ax.get_yaxis_transform()
        ax.text(0, y + LINE / 2, line, **({"transform": across, "color": INK, "fontsize": 8.5, "va": "center"} | style))
        y += LINE
    return y


def forest(groups: dict[str, Sequence[Difference]]) -> "Figure":
    """Draws claims of several papers on one axis, in percent of the headroom and turned towards the claim.

    The axis is even between -5 and 5 and gathers what lies beyond, so that small and large effects are both seen.
    """
    row = 1.5 * LINE
    tall = sum(
        1.4 * LINE + sum(LINE * len(lines(r.label)) + row for r in rows) + 0.5 * LINE for rows in groups.values()
    )
    column = Column(0.1 + tall + TICKS + LINE)
    ax = column.axes(tall)
    y = 0.0
    for paper, rows in groups.items():
        y = _label(ax, y + 0.4 * LINE, paper, fontweight="bold", fontsize=9.5)
        for one in rows:
            y = _label(ax, y, one.label)
            ax.plot([0, 0], [y, y + row], color=INK, linewidth=0.8)  # not through the words between
            difference(ax, y + row / 2, one, unit=row)
            y += row
        y += 0.5 * LINE
    ax.set_ylim(y, 0)
    ends = [end for rows in groups.values() for r in rows for end in (*r.values, r.difference.low, r.difference.high)]
    _percent(ax, "x", [end for end in ends if end is not None])
    column.text("percent of the headroom from floor to best, as claimed →", fontsize=8)
    return column.figure


def _percent(ax: "Axes", axis: str, values: Sequence[float]) -> None:
    """An axis in percent, even about zero and gathered beyond."""
    ticks = (-300, -100, -30, -10, 0, 10, 30, 100, 300)
    low, high = min([-10.0, *values]) * 1.1, max([10.0, *values]) * 1.1
    getattr(ax, f"set_{axis}scale")("asinh", linear_width=5)
    shown = [tick for tick in ticks if low <= tick <= high]
    getattr(ax, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown])
    getattr(ax, f"set_{axis}ticks")([], minor=True)
    getattr(ax, f"set_{axis}lim")(low, high)


def chart(points: Sequence[Point]) -> "Figure":
    """Draws published gains against ours: on the diagonal both are alike, below zero ours goes the other way."""
    present = [verdict for verdict in STYLE if any(point.verdict == verdict for point in points)]
    side = WIDTH - 2 * SIDE
    column = Column(0.1 + side + TICKS + LINE * (2 + len(present)))
    column.text("↑ reproduced gain, % of what the baseline left")
    ax = column.axes(side)
    ax.spines["left"].set_visible(True)
    ax.spines["left"].set_color(INK)
    ends = [0.0, *(p.published for p in points)]
    _percent(ax, "x", ends)
    _percent(ax, "y", [0.0, *(p.reproduced for p in points)])
    ax.tick_params(axis="y", direction="in", pad=-14)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.axvline(0, color=INK, linewidth=0.8)
    reach = [max(ax.get_xlim()[0], ax.get_ylim()[0]), min(ax.get_xlim()[1], ax.get_ylim()[1])]
    ax.plot(reach, reach, color=INK, linewidth=0.8, linestyle=":")
    for point in points:
        colour, marker = STYLE[point.verdict]
        size = 7 if point.central else 4
        ax.plot(point.published, point.reproduced, marker, color=colour, markersize=size, markeredgewidth=0, alpha=0.9)
    _names(ax, points)
    column.text("published gain, % of what the baseline left →")
    for verdict in present:
        colour, marker = STYLE[verdict]
        column.marker(marker, colour)
        count = sum(point.verdict == verdict for point in points)
        column.text(f"{verdict} ({count})", indent=0.2)
    return column.figure


def _names(ax: "Axes", points: Sequence[Point]) -> None:
    """Names of central claims beside their points, where there is room for them."""
    dpi = ax.figure.dpi
    places = [ax.transData.transform((point.published, point.reproduced)) / dpi for point in points]
    taken = [(x - 0.05, x + 0.05, y) for x, y in places]
    for (x, y), point in zip(places, points, strict=True):
        width = 0.068 * len(point.label)
        for side, start in (("left", x + 0.07), ("right", x - 0.07 - width)):
            inside = ax.bbox.x0 / dpi < start and start + width < ax.bbox.x1 / dpi
            free = not any(abs(y - b) < 0.13 and start < end and a < start + width for a, end, b in taken)
            if point.central and inside and free:
                taken.append((start, start + width, y))
                beside = {"xytext": (5 if side == "left" else -5, 0), "textcoords": "offset points", "ha": side}
                at = (point.published, point.reproduced)
                ax.annotate(point.label, at, va="center", color=INK, fontsize=8, **beside)
                break
