"""`papers compare --data`: what was tested on the user's own data, ranked beside what needs no learning."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.experiments.schema import closest
from common.experiments.texts import with_interval
from common.paths import as_path
from harness.console import print_table, say
from harness.files import workplace
from harness.recipes import catalog
from harness.recipes.options import parsed, spelled_out, unknown
from harness.recipes.signatures import signature


def compare_own(given: argparse.Namespace) -> None:
    """Prints the ranking; a floor is computed once and kept under the logs.

    Raises:
        UserError: the class is none of those on own data, or an option is not its own; before anything is loaded.
    """
    section = data_section(given.data, given.options)
    logs = workplace(given.root) / "logs" if given.logs is None else Path.cwd() / as_path(given.logs, "--logs")
    from harness.fitting.scores import latest, read_scores
    from harness.pages.own_ranking import own_ranking
    from harness.recipes.recipe import build_benchmark  # loads torch
    from harness.records.floors import Floor, read_floors, write_floor

    benchmark = build_benchmark(section)
    benchmark.prepare_data()
    benchmark.setup("test")
    key = benchmark.name, benchmark.fingerprint()
    every = [score for score in latest(read_scores(logs)) if score.benchmark == benchmark.name]
    scores = [score for score in every if score.data_hash == benchmark.fingerprint()]
    floors = {floor.key: floor for floor in read_floors(logs / "own")}
    if key not in floors:
        say(f"computing what {benchmark.name} scores without learning (once)")
        floors[key] = Floor(*key, benchmark.primary, {}, benchmark.floor())
        write_floor(logs / "own", floors[key])
    metric = given.metric or benchmark.primary
    command = "`papers test` on it"
    rows = own_ranking(scores, floors[key].rows, metric, command)
    ranks = iter(range(1, len(rows) + 1))
    cells = [
        (
            str(next(ranks)) if row.slug else "",
            row.label,
            row.slug or "floor",
            with_interval(row.estimate),
            str(row.estimate.n) if row.slug else "",
        )
        for row in rows
    ]
    shown = section["init_args"].get("path", "")
    print_table(
        ("rank", "method", "paper", "mean [95% interval]", "tests"), cells, f"{benchmark.name} {shown}: {metric}"
    )
    if left := len(every) - len(scores):
        say(f"{left} more tests on {benchmark.name} are of other data, or of other --data options")
    if not scores:
        say("nothing was tested on it yet; `papers test SLUG --ckpt_path last` with the same --data options does")


def data_section(name: str, words: list[str]) -> dict[str, Any]:
    """The section `data` of a recipe, as --data and its options say."""
    known = catalog.own_benchmarks()
    (class_path,) = spelled_out(["--data", name])[1:]
    if class_path not in known.values():
        raise UserError(f"--data is '{name}'{closest(name, known)}; it must be one of {', '.join(sorted(known))}")
    taken = signature(class_path, catalog.REPOSITORY)
    arguments = {}
    for key, value in parsed(words):
        section, _, option = key.partition(".")
        option = option.removeprefix("init_args.")
        if section != "data" or taken is None or option not in taken.arguments:
            raise UserError(unknown(key, taken) if section == "data" and taken else f"unknown arguments: --{key}")
        try:
            arguments[option] = yaml.safe_load(value or "")
        except yaml.YAMLError:
            arguments[option] = value
    return {"class_path": class_path, "init_args": arguments}
