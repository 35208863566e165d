"""The benchmarks, found by looking at the rooms of this folder. A new benchmark is a new file; nothing else changes.

`bases` is what they are made of, `mini` small real data, `worlds` generated data, `published` the layouts of full
recipes, `own` what anybody brings in tables and folders. A module answers to its bare name too, whatever its room:
`data.benchmarks.scenes` is the module `data.benchmarks.worlds.scenes`. So recipes outlive a benchmark's move.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from common.benchmark import Benchmark


def _modules() -> list[str]:
    """The full names of all modules of all rooms."""
    files = sorted(Path(__file__).parent.glob("*/*.py"))
    return [f"{__name__}.{file.parent.name}.{file.stem}" for file in files if file.stem != "__init__"]


def catalog() -> dict[str, type[Benchmark]]:
    """The shared benchmarks by name: all but those whose data the user brings. Imports every one of them."""
    found = [
        item
        for module in map(import_module, _modules())
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Benchmark) and item.__module__ == module.__name__
    ]
    shared = {item.name: item for item in found if "name" in vars(item) and not item.published}
    return dict(sorted(shared.items()))


class _BareNames(MetaPathFinder, Loader):
    """Finds a benchmark's module by its bare name, where the finders before it found nothing.

    Both names give one and the same module: a second copy would have classes of its own.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, stem = fullname.rpartition(".")
        if package != __name__:
            return None
        homes = [name for name in _modules() if name.rpartition(".")[2] == stem]
        return ModuleSpec(fullname, self, loader_state=homes[0]) if homes else None

    def exec_module(self, module: ModuleType) -> None:
        # The import system hands out what stands in `sys.modules` at the end of loading, not `module`.
        assert module.__spec__ is not None
        sys.modules[module.__name__] = import_module(module.__spec__.loader_state)


sys.meta_path.append(_BareNames())
