"""Pictures from what is on record: what each shows, in which words for those who cannot see it, light and dark."""

import dataclasses
import functools
import hashlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.experiments.card import untrained
from common.experiments.loss_curves import LossCurve
from common.experiments.texts import with_interval
from common.experiments.verdict import ClaimResult, best_floor
from harness.pages import curves, figures
from harness.pages.claim_text import title
from harness.pages.report import deviations, grouped, turned
from harness.records.floors import Floor
from harness.records.standing import Standing, Trial, tally, tally_primary, verdict_words
from harness.site import pictures
from harness.site.published import published_gain, reproduced_gain
from harness.site.rows import floors_under, in_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The mid-tones of `figures` read on any ground; here the page says which it has, so that contrast can be higher: at
# least 4.5:1 on white and on the theme's dark ground. Okabe and Ito's hues, lighter or darker.
THEMES = {
    "light": ("#4b4f54", "#00639e", "#a13a7a", "#00704f", "#9a5000"),
    "dark": ("#b9bec4", "#56b4e9", "#e59ac6", "#41c79d", "#f0a63c"),
}
_MIDTONES = tuple(dict.fromkeys([figures.INK, *(colour for colour, _ in figures.STYLE.values())]))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure's name, what it says, and how it is drawn."""

    name: str
    alt: str
    numbers: object
    """What is drawn: the same numbers need no new drawing."""
    draw: Callable[[], "Figure"]

    def files(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Its files, light and dark; those that are there and show the same numbers are not drawn again."""
        description = f"{self.alt}\n{self.numbers}\n{_drawing()}"
        paths = {theme: folder / f"{self.name}-{theme}.svg" for theme in THEMES}
        digest = hashlib.sha256(description.encode()).hexdigest()
        if all(path.is_file() and digest in path.read_text(encoding="utf-8") for path in paths.values()):
            yield from ((path, path.read_text(encoding="utf-8")) for path in paths.values())
            return
        svg = figures.render(self.draw(), description)
        yield from ((path, themed(svg, theme)) for theme, path in paths.items())


def themed(svg: str, theme: str) -> str:
    """The drawing in the colours of a theme."""
    for midtone, colour in zip(_MIDTONES, THEMES[theme], strict=True):
        svg = svg.replace(midtone, colour)
    return svg


@functools.cache
def _drawing() -> str:
    """What changes every drawing: its code and its colours."""
    code = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (figures, pictures))
    return hashlib.sha256(f"{code}{THEMES}".encode()).hexdigest()


def of_paper(paper: Standing, floors: Sequence[Floor]) -> Picture | None:
    """The central claim first, then the others, then our controls; None where nothing is on record."""
    found = [both for group in ("primary", "secondary", "control") for both in grouped(paper, group)]
    pairs = [_pair(t, r, floors) for t, r in found if isinstance(r, ClaimResult) and r.difference is not None]
    checks = deviations(paper)
    if not pairs and not checks:
        return None
    said = [
        f"{p.title}: {p.difference.verdict}, {with_interval(p.difference.difference, sign=True)}." for p in pairs[:3]
    ]
    more = f" And {len(pairs) - 3} more claims." if len(pairs) > 3 else ""
    properties = f" {len(checks)} properties with their deviations." if checks else ""
    alt = f"{paper.card.slug}, every seed of every claim. {' '.join(said)}{more}{properties}"
    return Picture(paper.card.slug, _line(alt), (pairs, checks), lambda: pictures.paper(pairs, checks))


def _pair(trial: Trial, result: ClaimResult, floors: Sequence[Floor]) -> pictures.Pair:
    claim = result.claim
    marks = {}
    if floor := best_floor(claim, floors_under(trial, claim.baseline, floors)):
        marks["floor"] = floor[1]
    if before := trial.values(untrained(claim.baseline), claim.metric):
        marks["untrained"] = statistics.fmean(before)
    labels = (trial.label(claim.method), trial.label(claim.baseline))
    sides = [tuple(trial.values(arm, claim.metric)) for arm in (claim.method, claim.baseline)]
    towards, values = turned(trial, result)
    row = figures.Difference(title(trial, result), claim.metric, towards, values, str(result.verdict), result.margin)
    return pictures.Pair(row.label, labels, *sides, marks, row)


def curves_of(paper: Standing) -> Picture | None:
    """The curves that its card names; None where no point of one is on record."""
    plots = curves.plots(paper)
    said = "; ".join(f"{plot.title} over {plot.x}: {', '.join(line.label for line in plot.lines)}" for plot in plots)
    name, alt = f"{paper.card.slug}-curves", _line(f"{paper.card.slug}, curves with a band over seeds. {said}.")
    return Picture(name, alt, plots, lambda: figures.curves(plots)) if plots else None


def losses_of(paper: Standing, found: Mapping[tuple[str, int], LossCurve]) -> Picture | None:
    """How the training losses of its arms went; None where none was kept. `found` as in `curves.losses`."""
    plots = curves.losses(paper, found)
    said = "; ".join(f"{plot.title}: {', '.join(line.label for line in plot.lines)}" for plot in plots)
    name, alt = f"{paper.card.slug}-losses", _line(f"{paper.card.slug}, losses by step with a band over seeds. {said}.")
    return Picture(name, alt, plots, lambda: figures.curves(plots)) if plots else None


def of_family(family: str, papers: Sequence[Standing], floors: Sequence[Floor]) -> Picture | None:
    """Every claim whose headroom is known, in percent of it; None where there is none."""
    groups: dict[str, list[figures.Difference]] = {}
    for paper in papers:
        for trial in paper.trials:
            for result in trial.results:
                if isinstance(result, ClaimResult) and (row := in_percent(trial, result, floors)):
                    groups.setdefault(paper.card.slug, []).append(row)
    if not groups:
        return None
    counts = verdict_words(tally(papers))
    alt = f"Forest plot of {family}: {sum(map(len, groups.values()))} differences in percent of the headroom. {counts}."
    return Picture(f"family-{family}", _line(alt), groups, lambda: pictures.forest(groups))


def of_all(papers: Sequence[Standing]) -> Picture | None:
    """Published against reproduced gains; None where no claim has both."""
    points = []
    for paper in papers:
        for trial in paper.trials:
            for result in trial.results:
                if isinstance(result, ClaimResult) and not result.control and trial.records:
                    gains = published_gain(paper.card.published_row(result.claim)), reproduced_gain(result)
                    if gains[0] is not None and gains[1] is not None:
                        slug, verdict = paper.card.slug, str(result.verdict)
                        points.append(pictures.Point(slug, gains[0], gains[1], verdict, result.primary))
    if not points:
        return None
    counts = verdict_words(tally_primary(papers))
    alt = (
        f"Map of {len(points)} claims, published gain against reproduced gain. Central claims of all papers: {counts}."
    )
    return Picture("map", _line(alt), points, lambda: pictures.chart(points))


def _line(text: str) -> str:
    return " ".join(text.split())
