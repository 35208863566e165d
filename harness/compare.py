"""Every method on record for a benchmark, ranked, beside what needs no learning."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.experiments.card import Comparison
from common.experiments.metrics import better
from common.experiments.paired import Interval, interval
from common.experiments.records import Record
from common.experiments.verdict import arm_values
from harness.floors import Floor, floor_path, read_floors, write_floor
from harness.standing import Standing, Trial

if TYPE_CHECKING:
    from common.benchmark import Benchmark

LOADER = frozenset({"batch_size", "seed", "data_root", "num_workers"})


@dataclass(frozen=True)
class Entry:
    """An arm's records on one version of a benchmark's data."""

    trial: Trial
    arm: str
    records: tuple[Record, ...]

    @property
    def data(self) -> tuple[str, str]:
        """The benchmark and the hash of its data, that of the first seed."""
        return self.records[0].benchmark, self.records[0].data_hash


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


def measure_floors(
    papers: Iterable[Standing], results: Path, say: Callable[[str], None], benchmark: str | None = None
) -> list[Floor]:
    """Computes the floors that are missing for data on record, puts them on record and returns all.

    One that was measured before its benchmark scored what a claim's margin is taken from is measured again. A floor
    that cannot be had (the data cannot be fetched, or changed since the runs) is told to `say` and left out.
    """
    floors = {floor.key: floor for floor in read_floors(results)}
    tried = set()
    for entry in arms_on_record(papers):
        key = entry.data
        if key in tried or benchmark not in (None, key[0]) or (key in floors and not lacks(floors[key], entry)):
            continue
        tried.add(key)
        say(f"computing what {key[0]} scores without learning (once)")
        try:
            floors[key] = _measure(entry)
        except UserError as error:
            say(f"no floor for {key[0]}: {error}")
        else:
            write_floor(results, floors[key])
    return list(floors.values())


def lacks(floor: Floor, entry: Entry) -> bool:
    """Whether a claim against this arm states no margin, and the floor that is to give it has none of its metric."""
    claims = entry.trial.experiment.claims if isinstance(entry.trial.experiment, Comparison) else ()
    wanted = {claim.metric for claim in claims if claim.baseline == entry.arm and claim.margin is None}
    return not wanted <= {metric for row in floor.rows.values() for metric in row}


def _measure(entry: Entry) -> Floor:
    from harness import recipe  # loads torch

    name, data_hash = entry.data
    trial = entry.trial
    data = recipe.resolve_arm(trial.card, trial.experiment, entry.arm, trial.recipe)["data"]
    config = recipe.arm_config(trial.card, trial.experiment, entry.arm, trial.recipe)
    defaults = recipe.resolve(config | {"data": {"class_path": data["class_path"]}})["data"].get("init_args", {})
    benchmark = recipe.build_benchmark(recipe.with_seed({"data": data}, entry.records[0].seed)["data"])
    benchmark.prepare_data()
    benchmark.setup("test")
    if (today := benchmark.fingerprint()) != data_hash:
        raise UserError(f"its data is {today[:8]} today and was {data_hash[:8]} when {trial.card.slug} ran")
    settings = {k: v for k, v in data.get("init_args", {}).items() if k not in LOADER and v != defaults[k]}
    return Floor(name, data_hash, benchmark.primary, settings, benchmark.floor())


def floor_of(benchmark: "Benchmark", results: Path) -> Floor:
    """The floor of a benchmark that is ready, at its default settings: on record, or measured now and recorded.

    A measured one takes the place of what stood there for older data of the default settings.
    """
    floors = {floor.key: floor for floor in read_floors(results)}
    key = benchmark.name, benchmark.fingerprint()
    if key not in floors or floors[key].primary != benchmark.primary:
        for floor in floors.values():
            if floor.benchmark == benchmark.name and not floor.settings:
                floor_path(results, floor).unlink()
        floors[key] = Floor(*key, benchmark.primary, {}, benchmark.floor())
        write_floor(results, floors[key])
    return floors[key]


def arms_on_record(papers: Iterable[Standing]) -> list[Entry]:
    """Each arm of each comparison on each version of the data that it has records of.

    Where every seed has data of its own hash, the seed draws part of it, such as which labels are wrong: then they are
    one version, which goes by the first seed's hash.
    """
    entries = []
    for trial in (trial for paper in papers for trial in paper.trials):
        if isinstance(trial.experiment, Comparison):
            for arm in trial.experiment.arms:
                versions: dict[tuple[str, str], list[Record]] = {}
                own = sorted((record for record in trial.records if record.arm == arm), key=lambda one: one.seed)
                for record in own:
                    versions.setdefault((record.benchmark, record.data_hash), []).append(record)
                drawn = 1 < len(versions) == len(own) == len({record.seed for record in own})
                entries += [Entry(trial, arm, tuple(records)) for records in ([own] if drawn else versions.values())]
    return entries


def rankings(
    papers: Sequence[Standing], floors: Iterable[Floor], benchmark: str | None = None, metric: str | None = None
) -> list[Ranking]:
    """One ranking for each benchmark and each data hash on it; the benchmark's largest ranking first.

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
        names = sorted({name for metrics in scored for name in metrics})
        raise UserError(f"nothing on {benchmark} has the metric '{metric}'; there are: {', '.join(names)}")
    return found


def _rows(entries: Iterable[Entry], metric: str) -> list[Row]:
    rows = []
    for entry in entries:
        values = arm_values(entry.records, entry.arm, metric)
        if values:
            label = entry.trial.experiment.arms[entry.arm].label
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
