"""The methods that were tested on somebody's own data, ranked, beside what needs no learning."""

import json
from collections.abc import Mapping, Sequence

from common.errors import UserError
from common.experiments.metrics import better
from common.experiments.paired import interval
from harness.fitting.scores import Score
from harness.pages.compare import Row
from harness.records.metric_names import choices


def own_ranking(
    scores: Sequence[Score], floor: Mapping[str, Mapping[str, float]], metric: str, command: str
) -> list[Row]:
    """Best first. Tests of one method with the same arguments are one row, as those of several seeds are.

    Args:
        scores: on the same data.
        floor: metrics by what learns nothing.
        command: what shows the metrics there are, for the error.

    Raises:
        UserError: nothing has the metric.
    """
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        key = score.paper, score.method, json.dumps(score.arguments, sort_keys=True) + str(_untrained(score))
        groups.setdefault(key, []).append(score)
    rows = []
    for (paper, method, _), alike in groups.items():
        if values := [one.metrics[metric] for one in alike if metric in one.metrics]:
            others = [one[0] for key, one in groups.items() if key[:2] == (paper, method)]
            rows.append(Row(_label(alike[0], others), interval(values), 0, paper))
    rows += [Row(name, interval([found[metric]])) for name, found in floor.items() if metric in found]
    if not rows:
        names = {name for score in scores for name in score.metrics} | {
            name for found in floor.values() for name in found
        }
        raise UserError(f"nothing has the metric '{metric}'{choices(metric, names, command)}")
    sign = 1 if better(metric) == "lower" else -1
    return sorted(rows, key=lambda row: (sign * row.estimate.mean, row.label))


def _untrained(score: Score) -> bool:
    return score.checkpoint == "untrained"


def _label(score: Score, others: Sequence[Score]) -> str:
    """The class, with the arguments in which the tests of a paper differ."""
    differing = [
        f"{key} {value}"
        for key, value in score.arguments.items()
        if any(other.arguments.get(key) != value for other in others)
    ]
    said = [*differing, *(["untrained"] if _untrained(score) else [])]
    return f"{score.method} ({', '.join(said)})" if said else score.method
