"""The floors that are not on record yet, measured and put there."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.experiments.card import Comparison
from harness.records.entries import Entry, arms_on_record
from harness.records.floors import Floor, floor_path, read_floors, write_floor
from harness.records.standing import Standing

if TYPE_CHECKING:
    from common.benchmark import Benchmark

LOADER = frozenset({"batch_size", "seed", "data_root", "num_workers"})


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
    from harness.recipes import recipe  # loads torch

    name, data_hash = entry.data
    trial = entry.trial
    data = recipe.resolve_arm(trial.card, trial.comparison, entry.arm, trial.recipe)["data"]
    config = recipe.arm_config(trial.card, trial.comparison, entry.arm, trial.recipe)
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
