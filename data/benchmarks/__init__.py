"""The benchmarks, found by looking at the rooms of this folder. A new benchmark is a new file; nothing else changes.

`bases` is what they are made of, `mini` small real data, `worlds` generated data, `published` the layouts of full
recipes.
"""

from importlib import import_module
from pathlib import Path

from common.benchmark import Benchmark


def catalog() -> dict[str, type[Benchmark]]:
    """The shared benchmarks by name: all but those whose data the user brings. Imports every one of them."""
    here = Path(__file__).parent
    files = [file for file in sorted(here.glob("*/*.py")) if file.stem != "__init__"]
    modules = [import_module(f"{__name__}.{file.parent.name}.{file.stem}") for file in files]
    found = [
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Benchmark) and item.__module__ == module.__name__
    ]
    shared = {item.name: item for item in found if "name" in vars(item) and not item.published}
    return dict(sorted(shared.items()))
