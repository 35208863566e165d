"""Papers are found by looking at the folders: papers/<family>/<slug>/paper.yaml. Adding one edits no other file."""

import difflib
import re
import sys
from pathlib import Path

from common.errors import UserError
from common.experiments.card import Card
from common.experiments.card_file import load_card
from common.experiments.yaml_lines import load, shown
from harness.recipes.signatures import batch_read, class_constant, classes, mentions

REPOSITORY = Path(__file__).resolve().parents[2]


def _by_slug(root: Path) -> dict[str, list[Path]]:
    """The cards of each slug, sorted by family and slug: one, unless two families have the same."""
    cards: dict[str, list[Path]] = {}
    for path in sorted(root.glob("papers/*/*/paper.yaml")):
        cards.setdefault(path.parent.name, []).append(path)
    return cards


def found(root: Path = REPOSITORY) -> list[Path]:
    """All cards, sorted by family and slug, faulty ones among them."""
    return [path for places in _by_slug(root).values() for path in places]


def _only(slug: str, paths: list[Path], root: Path) -> Path:
    if len(paths) > 1:
        raise UserError(f"two papers are named '{slug}': {shown(paths[0], root)} and {shown(paths[1], root)}")
    return paths[0]


def paths(root: Path = REPOSITORY) -> dict[str, Path]:
    """The card of each slug, sorted by family and slug; no card is read.

    Raises:
        UserError: two families have the same slug.
    """
    return {slug: _only(slug, paths, root) for slug, paths in _by_slug(root).items()}


def cards(root: Path = REPOSITORY) -> list[Card]:
    """All cards, sorted by family and slug. Raises: UserError at the first faulty one."""
    return [load_card(path, root) for path in paths(root).values()]


def readable_cards(root: Path = REPOSITORY) -> tuple[list[Card], list[str]]:
    """The cards that can be read, and one line for each that cannot: a faulty one must not stop what needs it not."""
    good, faults = [], []
    for slug, places in _by_slug(root).items():
        try:
            good.append(load_card(_only(slug, places, root), root))
        except UserError as error:
            faults.append(str(error))
    return good, faults


def find(slug: str, root: Path = REPOSITORY) -> Card:
    """The card of `slug`.

    Raises:
        UserError: no paper has that slug; suggests the nearest.
    """
    known = _by_slug(root)
    if slug in known:
        return load_card(_only(slug, known[slug], root), root)
    written = re.sub(r"\W+", "_", slug.lower())  # SimCSE and Sample4Geo, as papers write themselves
    near = difflib.get_close_matches(written, known, n=3, cutoff=0.5)
    near += [name for name in known if written and written in name and name not in near][: 3 - len(near)]
    hint = f"did you mean {' or '.join(near)}?" if near else "`papers list` shows all"
    raise UserError(f"unknown paper '{slug}'; {hint}")


def benchmark_of(card: Card, recipe: str = "mini.yaml") -> str | None:
    """The name of the benchmark that a recipe stands on, found without importing it; None where it has none."""
    return benchmark_constant(card, "name", recipe)


def benchmark_constant(card: Card, constant: str, recipe: str = "mini.yaml") -> str | None:
    """A text that a recipe's data class or its bases define, such as its `name` or `primary` metric."""
    class_path = benchmark_class(card, recipe)
    return class_constant(class_path, constant, card.root) if class_path is not None else None


def benchmark_class(card: Card, recipe: str = "mini.yaml") -> str | None:
    """The path of a recipe's data class, as it is written there."""
    path = card.folder / recipe
    if not path.is_file():
        return None
    data = load(path, card.root).data.get("data")
    class_path = data.get("class_path") if isinstance(data, dict) else None
    return class_path if isinstance(class_path, str) else None


def benchmarks_read(batch: str, root: Path = REPOSITORY) -> list[str]:
    """The benchmarks on which, in some recipe, a method stands that reads such batches."""
    names = set()
    for card in readable_cards(root)[0]:
        for path in sorted(card.folder.glob("*.yaml")):
            model = load(path, root).data.get("model") if path.name != "paper.yaml" else None
            if isinstance(model, dict) and batch_read(str(model.get("class_path")), root) == batch:
                names.add(benchmark_of(card, path.name))
    return sorted(name for name in names if name)


def fitting_benchmarks(batch: str, root: Path = REPOSITORY) -> str:
    """What a method that reads such batches can be put on, in words: by recipes, and of one's own data."""
    # What every module imports, such as Tensor, tells nothing.
    kinds = [kind for kind in batch.split(" | ") if mentions("common.batches", kind, REPOSITORY)]
    own = [
        name
        for name, class_path in own_benchmarks().items()
        if any(mentions(class_path, kind, root, deep=True) for kind in kinds)
    ]
    said = ", ".join(benchmarks_read(batch, root)) or "none in a recipe so far"
    return f"{said}; on data of your own: --data {' or '.join(sorted(own))}" if own else said


def shared_benchmarks() -> set[str]:
    """The names of the benchmarks of this repository whose data nobody has to bring, found without importing them."""
    names = set()
    for room in ("mini", "worlds"):
        for path in sorted((REPOSITORY / "data/benchmarks" / room).glob("*.py")):
            module = f"data.benchmarks.{room}.{path.stem}"
            names |= {class_constant(f"{module}.{name}", "name", REPOSITORY) for name in classes(module, REPOSITORY)}
    return {name for name in names if name is not None}


def own_benchmarks() -> dict[str, str]:
    """The benchmarks on the user's own data: their classes' paths by their bare names, found without importing them."""
    found: dict[str, str] = {}
    for path in sorted((REPOSITORY / "data/benchmarks/own").glob("*.py")):
        module = f"data.benchmarks.own.{path.stem}"
        of_module = {name: f"{module}.{name}" for name in classes(module, REPOSITORY)}
        found |= {k: v for k, v in of_module.items() if class_constant(v, "name", REPOSITORY) is not None}
    return found


def importable(root: Path) -> None:
    """Makes the classes of another root than this repository importable."""
    if root != REPOSITORY and str(root) not in sys.path:
        sys.path.insert(0, str(root))
