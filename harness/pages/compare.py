"""Every method on record for a benchmark, ranked, beside what needs no learning."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import UserError
from common.experiments.metrics import better
from common.experiments.paired import Interval, interval
from common.experiments.verdict import arm_values
from harness.recipes.written import arm_config
from harness.records.entries import Entry, arms_on_record
from harness.records.floors import Floor
from harness.records.metric_names import choices, command
from harness.records.standing import Standing


@dataclass(frozen=True)
class Row:
    """One line of a ranking. A floor has no rank and no paper."""

    label: str
    estimate: Interval
    rank: int | None = None
    slug: str | None = None
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Ranking:
    """All that was scored by one metric on the same data, best first."""

    benchmark: str
    data_hash: str
    metric: str
    title: str
    """The benchmark, with what sets this data apart if there are several versions of it."""
    rows: tuple[Row, ...]


def rankings(
    papers: Sequence[Standing], floors: Iterable[Floor], benchmark: str | None = None, metric: str | None = None
) -> list[Ranking]:
    """One ranking for each benchmark and each data hash on it; the benchmark's largest ranking first.

    A training that several cards share, as a common baseline, is ranked once: for the paper whose module it is.

    Args:
        benchmark: only this one; then floors count even where no method is on record.
        metric: rank by it; by default the benchmark's primary metric.

    Raises:
        UserError: nothing is on record for `benchmark`, or no arm on it has `metric`.
    """
    known = {floor.key: floor for floor in floors}
    groups: dict[tuple[str, str], list[Entry]] = {key: [] for key in known if key[0] == benchmark}
    for entry in arms_on_record(papers):
        if benchmark in (None, entry.data[0]):
            groups.setdefault(entry.data, []).append(entry)
    if benchmark is not None and not groups:
        raise UserError(f"nothing is on record for the benchmark '{benchmark}'")
    groups = {key: _once(entries) for key, entries in groups.items()}
    found = []
    for (name, data_hash), entries in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        floor = known.get((name, data_hash))
        by = metric or (floor.primary if floor else _claimed(entries))
        rows = _rows(entries, by)
        if floor:
            rows += [Row(label, interval([m[by]])) for label, m in floor.rows.items() if by in m]
        if not rows:
            continue
        sign = 1 if better(by) == "lower" else -1
        rows.sort(key=lambda row: (sign * row.estimate.mean, row.label))
        ranks = iter(range(1, len(rows) + 1))
        ranked = tuple(dataclasses.replace(row, rank=next(ranks)) if row.slug else row for row in rows)
        versions = [key for key in groups if key[0] == name]
        found.append(Ranking(name, data_hash, by, _title((name, data_hash), versions, known), ranked))
    if metric is not None and not found:
        scored = [r.metrics for entries in groups.values() for e in entries for r in e.records]
        scored += [row for key in groups if key in known for row in known[key].rows.values()]
        names = {name for metrics in scored for name in metrics}
        raise UserError(
            f"nothing on {benchmark} has the metric '{metric}'{choices(metric, names, command(str(benchmark)))}"
        )
    return found


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """Of entries with the same recipe that of the module's own paper or, if there is none, the one of most seeds."""
    alike: dict[frozenset[str], list[Entry]] = {}
    for entry in entries:
        alike.setdefault(frozenset(record.recipe_hash for record in entry.records), []).append(entry)
    return [
        max(same, key=lambda one: (_is_own(one), len(one.records))) if same[1:] else same[0] for same in alike.values()
    ]


def _is_own(entry: Entry) -> bool:
    card, comparison = entry.trial.card, entry.trial.comparison
    module = arm_config(card, comparison, entry.arm)["model"]["class_path"]
    return module.startswith(f"papers.{card.family}.{card.slug}.")


def _rows(entries: Iterable[Entry], metric: str) -> list[Row]:
    rows = []
    for entry in entries:
        values = arm_values(entry.records, entry.arm, metric)
        if values:
            label = entry.trial.comparison.arms[entry.arm].label
            label += " (full recipe)" if entry.trial.recipe == "full.yaml" else ""
            seconds = statistics.median(record.seconds for record in entry.records)
            estimate = interval([value for _, value in sorted(values.items())])
            rows.append(Row(label, estimate, None, entry.trial.card.slug, entry.records[-1].steps, seconds))
    return rows


def _title(key: tuple[str, str], versions: Sequence[tuple[str, str]], floors: dict[tuple[str, str], Floor]) -> str:
    """ "fashion", or "fashion (long_tail 0.01)" where the arguments differ between versions of the data."""
    name, data_hash = key
    if len(versions) == 1:
        return name
    settings = [floors[version].settings for version in versions if version in floors]
    own = floors[key].settings if key in floors else {}
    differing = [k for k, value in own.items() if any(other.get(k) != value for other in settings)]
    plain = "defaults" if key in floors and not own else f"data {data_hash[:8]}"
    said = ", ".join(f"{k} {own[k]}" for k in differing) or plain
    return f"{name} ({said})"


def _claimed(entries: Iterable[Entry]) -> str:
    """Where no floor names the primary metric: the one that most arms were run for."""
    counts = Counter(metric for entry in entries for metric in entry.trial.experiment.metrics)
    return min(counts, key=lambda metric: (-counts[metric], metric), default="")
