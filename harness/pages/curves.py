"""The lines and dots that a card names, read off the records."""

import math
import re
from collections.abc import Mapping

from common.errors import UserError
from common.experiments.card import Comparison, Curve, Line, Plane
from common.experiments.loss_curves import LossCurve
from common.experiments.verdict import arm_values
from harness.pages.figures import Plot, Trace
from harness.recipes.written import arm_config, value_at
from harness.records.standing import Standing, Trial

_NUMBER = r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)"


def plots(paper: Standing) -> list[Plot]:
    """The curves and planes of a paper of which a point is on record, in the order of the card.

    Raises:
        UserError: an arm has no number at the place that a curve names.
    """
    found = []
    for trial in paper.trials:
        for curve in trial.experiment.curves:
            lines = [Trace(line.label, points) for line in curve.lines if (points := _points(trial, curve, line))]
            if lines:
                y = curve.y.replace("{x}", "").rstrip("/@ ")
                title = f"{trial.experiment.name}: {y}"
                found.append(Plot(title, curve.x.partition(".")[2] or curve.x, tuple(lines), curve.log, curve.log_y))
        for plane in trial.experiment.planes if isinstance(trial.experiment, Comparison) else ():
            if dots := [trace for trace in _dots(trial, plane) if trace.points]:
                found.append(Plot(f"{trial.experiment.name}: {plane.y}", plane.x, tuple(dots), joined=False))
    return found


def losses(paper: Standing, found: Mapping[tuple[str, int], LossCurve]) -> list[Plot]:
    """For each comparison the training losses of its arms over steps, as far as they were kept.

    Args:
        found: the curve of each training, by the hash of its recipe and its seed.
    """
    plots = []
    for trial in paper.trials:
        if not isinstance(trial.experiment, Comparison):
            continue
        lines = []
        for arm in trial.experiment.arms.values():
            points: dict[float, list[float]] = {}
            for record in sorted((one for one in trial.records if one.arm == arm.name), key=lambda one: one.seed):
                curve = found.get((record.recipe_hash, record.seed))
                for step, loss in curve.points() if curve else ():
                    points.setdefault(step, []).append(loss)
            if points:
                lines.append(Trace(arm.label, tuple((step, tuple(values)) for step, values in sorted(points.items()))))
        if lines:
            plots.append(Plot(f"{trial.experiment.name}: training loss", "step", tuple(lines), marked=False))
    return plots


def _dots(trial: Trial, plane: Plane) -> list[Trace]:
    """For each arm the places of its runs, by x."""
    assert isinstance(trial.experiment, Comparison)
    found = []
    for arm in plane.arms or trial.experiment.arms:
        x, y = (arm_values(trial.records, arm, metric) for metric in (plane.x, plane.y))
        places = sorted((x[seed], (y[seed],)) for seed in x.keys() & y.keys())
        found.append(Trace(trial.experiment.arms[arm].label, tuple(places)))
    return found


def _points(trial: Trial, curve: Curve, line: Line) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """(x, the values of all seeds), by x."""
    metric = line.metric or curve.y
    arms = line.arms or (trial.experiment.name,)
    found: dict[float, tuple[float, ...]] = {}
    for arm in arms:
        if "{x}" not in metric:
            places = {metric: place(trial, arm, curve.x)}
        else:
            form = re.compile(_NUMBER.join(map(re.escape, metric.split("{x}"))))
            names = dict.fromkeys(name for record in trial.records if record.arm == arm for name in record.metrics)
            places = {name: float(match[1]) for name in names if (match := form.fullmatch(name))}
        for name, x in places.items():
            if (x > 0 or not curve.log) and (values := trial.values(arm, name)):
                found[x] = tuple(values)
    return tuple(sorted(found.items()))


def place(trial: Trial, arm: str, where: str) -> float:
    """The number that an arm has at a place in its recipe, as in "model.temperature" or "data.sizes.0".

    What is written nowhere has the default of its class.

    Raises:
        UserError: there is no number.
    """
    assert isinstance(trial.experiment, Comparison)
    value = value_at(arm_config(trial.card, trial.experiment, arm, trial.recipe), where, trial.card.root)
    # YAML reads "1e-3", which has no dot, as text.
    number = number_in(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UserError(
            f"{trial.card.slug}/{trial.experiment.name}: the arm '{arm}' has {value!r} at {where}, where a curve "
            "needs a number"
        )
    return float(number)


def number_in(text: str) -> float | str:
    """The number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text
