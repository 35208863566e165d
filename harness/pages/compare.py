"""Every method on record for a benchmark, ranked, beside what needs no learning."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from common.experiments.metrics import better
from common.experiments.paired import Interval, interval
from common.experiments.texts import duration
from common.experiments.verdict import arm_values
from harness.recipes.written import arm_config, value_at
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
    values: Mapping[int, float] = field(default_factory=dict)
    """Of each seed."""
    ranks: tuple[int, int] | None = None
    """The best and the worst rank that `rank_intervals` leaves open."""
    budget: tuple[str, int] | None = None
    """The encoder and how many views of samples it saw in training; None of what needs no learning."""

    @property
    def may_be(self) -> str:
        """`ranks` in words: "2-4"."""
        return "-".join(str(rank) for rank in dict.fromkeys(self.ranks or ()))


@dataclass(frozen=True)
class Ranking:
    """All that was scored by one metric on the same data, best first."""

    benchmark: str
    data_hash: str
    metric: str
    title: str
    """The benchmark, with what sets this data apart if there are several versions of it."""
    rows: tuple[Row, ...]

    @property
    def budgets(self) -> Counter[tuple[str, int]]:
        """How many methods were given what; those that were not trained are none."""
        return Counter(row.budget for row in self.rows if row.budget and row.budget[1])

    @property
    def given(self) -> str:
        """What the methods were given, in words."""
        trained = [row for row in self.rows if row.budget and row.budget[1]]
        if not trained:
            return ""
        (encoder, seen), count = self.budgets.most_common(1)[0]
        said = f"{encoder}, {seen:,} views of samples in training"
        if count < len(trained):
            said = f"{count} of {len(trained)} at one budget, {said}"
        return (
            f"{said}; {duration(min(r.seconds for r in trained))} to {duration(max(r.seconds for r in trained))} a run"
        )

    def at_equal_budget(self) -> "Ranking":
        """Ranked anew: those of the most common budget, beside untrained networks and what needs no learning."""
        if not self.budgets:
            return self
        common = self.budgets.most_common(1)[0][0]
        kept = [row for row in self.rows if row.budget is None or row.budget == common or not row.budget[1]]
        return dataclasses.replace(self, rows=_placed(kept, self.metric))


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
        versions = [key for key in groups if key[0] == name]
        found.append(Ranking(name, data_hash, by, _title((name, data_hash), versions, known), _placed(rows, by)))
    if metric is not None and not found:
        scored = [r.metrics for entries in groups.values() for e in entries for r in e.records]
        scored += [row for key in groups if key in known for row in known[key].rows.values()]
        names = {name for metrics in scored for name in metrics}
        raise UserError(
            f"nothing on {benchmark} has the metric '{metric}'{choices(metric, names, command(str(benchmark)))}"
        )
    return found


def _placed(rows: Iterable[Row], metric: str) -> tuple[Row, ...]:
    """Best first; methods with their ranks."""
    sign = 1 if better(metric) == "lower" else -1
    rows = sorted(rows, key=lambda row: (sign * row.estimate.mean, row.label))
    places = enumerate(rank_intervals([row.values for row in rows if row.slug], sign), start=1)
    return tuple(
        dataclasses.replace(row, rank=rank, ranks=open_to)
        for row in rows
        for rank, open_to in ([next(places)] if row.slug else [(None, None)])
    )


def rank_intervals(methods: Sequence[Mapping[int, float]], sign: int = -1) -> list[tuple[int, int]]:
    """For each method the best and the worst rank that its seeds leave open.

    A method is behind those, and ahead of those, from which the 95% interval of its mean difference over common seeds
    excludes zero; nothing is corrected for how many pairs are looked at.

    Args:
        methods: of each the values by seed.
        sign: 1 if lower values are better, else -1.
    """

    def ahead(one: Mapping[int, float], other: Mapping[int, float]) -> int:
        common = sorted(one.keys() & other.keys())
        return -sign * interval([one[seed] - other[seed] for seed in common]).side if len(common) > 1 else 0

    sides = [[ahead(one, other) for other in methods] for one in methods]
    return [(1 + row.count(-1), len(methods) - row.count(1)) for row in sides]


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
            steps = entry.records[-1].steps
            rows.append(
                Row(label, estimate, None, entry.trial.card.slug, steps, seconds, values, None, _budget(entry, steps))
            )
    return rows


def _budget(entry: Entry, steps: int) -> tuple[str, int]:
    root = entry.trial.card.root
    config = arm_config(entry.trial.card, entry.trial.comparison, entry.arm, entry.trial.recipe)
    batch, views = (value_at(config, place, root) for place in ("data.batch_size", "data.views"))
    encoder = value_at(config, "model.encoder", root)
    if encoder is None:
        encoder = config["model"]["class_path"].rpartition(".")[2]
    return str(encoder), steps * (batch if isinstance(batch, int) else 1) * (views if isinstance(views, int) else 1)


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
