"""What every shared benchmark promises, found by looking at the folder."""

import inspect
import json
from pathlib import Path

import pytest

from common.benchmark import Benchmark
from data.benchmarks import catalog
from data.sources import catalog as sources

ROOT = Path(__file__).parents[3]
BENCHMARKS = catalog()
every = pytest.mark.parametrize("name", BENCHMARKS)


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
    lines = (ROOT / "results" / "floors.jsonl").read_text().splitlines()
    floors = [json.loads(line) for line in lines if json.loads(line)["benchmark"] == name]
    assert floors
    assert all(BENCHMARKS[name].primary in row for floor in floors for row in list(floor["rows"].values())[:1])
    figures = [line for line in page.splitlines() if f"(figures/{name}.png)" in line]
    assert all((ROOT / "data" / "figures" / f"{name}.png").is_file() for _ in figures)


def test_the_page_shows_no_benchmark_that_is_gone() -> None:
    page = (ROOT / "data" / "README.md").read_text()
    assert {line[3:] for line in page.splitlines() if line.startswith("## ")} == set(BENCHMARKS)
