"""What every shared benchmark promises, found by looking at the folder."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from common.benchmark import Benchmark
from common.experiments.metrics import best
from common.experiments.texts import number
from data.benchmarks import catalog
from data.sources import catalog as sources

ROOT = Path(__file__).parents[3]
BENCHMARKS = catalog()
every = pytest.mark.parametrize("name", BENCHMARKS)


def floors_of(name: str) -> list[dict]:
    floors = [json.loads(file.read_text()) for file in (ROOT / "results" / "floors").glob("*.json")]
    return [floor for floor in floors if floor["benchmark"] == name]


@every
def test_it_is_built_from_catalogued_sources_without_any_argument(name: str) -> None:
    kind = BENCHMARKS[name]
    assert {source.name for source in kind.sources} <= set(sources())
    parameters = inspect.signature(kind).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    assert not required
    for method in ("evaluate", "floor", "fingerprint", "example"):
        assert getattr(kind, method) is not getattr(Benchmark, method), f"{name} has no {method}"


@every
def test_it_stands_on_the_page_with_its_floor_on_record(name: str) -> None:
    page = (ROOT / "data" / "README.md").read_text()
    assert f"\n## {name}\n" in page
    floors = floors_of(name)
    assert floors
    assert all(BENCHMARKS[name].primary in row for floor in floors for row in list(floor["rows"].values())[:1])
    figures = [line for line in page.splitlines() if f"(figures/{name}.png)" in line]
    assert all((ROOT / "data" / "figures" / f"{name}.png").is_file() for _ in figures)


@every
def test_the_figures_on_the_page_are_those_of_the_data(name: str, fetched: Callable[..., None]) -> None:
    kind = BENCHMARKS[name]
    fetched(*kind.sources)
    benchmark = kind()
    sizes = benchmark.sizes()
    page = (ROOT / "data" / "README.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| [{name}](#{name}) |")]
    _, samples, primary, best_floor, _ = [cell.strip() for cell in row.strip("|").split("|")]
    assert samples == ", ".join(f"{size:,} {split}" for split, size in sizes.items())
    assert primary == f"`{benchmark.primary}`"
    # The floor is of this data, and not of what the data once was.
    (floor,) = [floor for floor in floors_of(name) if floor["data_hash"] == benchmark.fingerprint()]
    values = [row[benchmark.primary] for row in floor["rows"].values() if benchmark.primary in row]
    assert best_floor == number(best(benchmark.primary, values))
    # What is said in words agrees: "2,551 train, 300 validation, 1,000 test".
    section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
    summary = section.strip().split("\n\n")[0]
    assert summary == " ".join(inspect.getdoc(kind).split("\n\n")[0].split())
    for count, split in re.findall(r"(\d{3}|\d+,\d{3}) (?:[a-z]+ )?(train|val|test)", summary):
        assert int(count.replace(",", "")) == sizes[split], f"{count} {split}"
    stated = {line for line in section.splitlines() if line.startswith("- `")}
    assert stated == {f"- `{s.name}`: {s.package} {s.version}, {s.licence}. {s.citation}." for s in kind.sources}


def test_the_page_shows_no_benchmark_that_is_gone() -> None:
    page = (ROOT / "data" / "README.md").read_text()
    assert {line[3:] for line in page.splitlines() if line.startswith("## ")} == set(BENCHMARKS)


MODULES = {
    file.stem: f"data.benchmarks.{file.parent.name}.{file.stem}"
    for file in (ROOT / "data" / "benchmarks").glob("*/*.py")
    if file.stem != "__init__"
}


@pytest.mark.parametrize("stem", ["scenes", "digits", "must_c", "retrieval"])
def test_a_module_answers_to_its_bare_name(stem: str) -> None:
    module = import_module(f"data.benchmarks.{stem}")
    assert module is import_module(MODULES[stem])
    assert module.__name__ == module.__spec__.name == MODULES[stem]


@pytest.mark.parametrize("first", ["data.benchmarks.must_c", "data.benchmarks.published.must_c"])
def test_whichever_name_is_imported_first_there_is_one_class(first: str) -> None:
    code = (
        f"import {first}\n"
        "from data.benchmarks.must_c import MustC\n"
        "from data.benchmarks.published.must_c import MustC as other\n"
        "assert MustC is other and MustC.__module__ == 'data.benchmarks.published.must_c'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_bare_names_are_unique_and_hide_no_room() -> None:
    files = [f for f in (ROOT / "data" / "benchmarks").glob("*/*.py") if f.stem != "__init__"]
    assert len(files) == len(MODULES)
    assert not MODULES.keys() & {file.parent.name for file in files}


def test_a_name_that_no_room_has_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        import_module("data.benchmarks.no_such")
