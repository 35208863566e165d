"""The page of benchmarks, data/README.md: a look at each, its counts, sources, floor, and who stands on it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.benchmark import Benchmark
from common.experiments.metrics import best
from common.experiments.texts import number
from common.lines import split_lines
from data.benchmarks import catalog
from harness.files import write_text
from harness.records.floors import Floor
from harness.records.measured_floors import floor_of
from harness.records.standing import Standing

TEMPLATES = Path(__file__).parent / "templates"
FIGURES = "figures"
WIDTH = 118


def write(root: Path, papers: Sequence[Standing], say: Callable[[str], None]) -> None:
    """Builds every shared benchmark at its default settings and writes data/README.md and data/figures.

    A floor that is not on record is measured and recorded.
    """
    entries = []
    for name, kind in catalog().items():
        say(f"{name}: building, and scoring what needs no learning")
        benchmark = kind()
        benchmark.prepare_data()
        benchmark.setup("test")
        entries.append(_entry(root, benchmark, floor_of(benchmark, root / "results"), papers))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    write_text(root / "data" / "README.md", environment.get_template("benchmarks.md.j2").render(benchmarks=entries))


def _fitted(line: str) -> str:
    """The line, cut where it is too long for a page."""
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _entry(root: Path, benchmark: Benchmark, floor: Floor, papers: Sequence[Standing]) -> dict:
    example = benchmark.example()
    if not isinstance(example, str):
        figure = root / "data" / FIGURES / f"{benchmark.name}.png"
        figure.parent.mkdir(exist_ok=True)
        example.save(figure, optimize=True)
        example = None
    rows = floor.rows.values()
    return {
        "name": benchmark.name,
        "summary": " ".join((type(benchmark).__doc__ or "").split("\n\n")[0].split()),
        "example": "\n".join(_fitted(line) for line in split_lines(example)) if example else None,
        "figure": None if example else f"{FIGURES}/{benchmark.name}.png",
        "sizes": benchmark.sizes(),
        "sources": sorted(benchmark.sources, key=lambda source: source.name),
        "primary": benchmark.primary,
        "floor": floor.rows,
        "metrics": list(dict.fromkeys(metric for row in rows for metric in row)),
        "best": best(benchmark.primary, [row[benchmark.primary] for row in rows if benchmark.primary in row]),
        "papers": [paper.card for paper in papers if benchmark.name in paper.benchmarks],
    }
