"""What the constructors of a recipe's classes take, read out of their source: importing them would load torch."""

import ast
import functools
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Argument(NamedTuple):
    """One argument of a constructor."""

    name: str
    kind: str
    """Its annotation, with names of the same or an imported module filled in: "Literal['a', 'b'] | None"."""
    default: str | None
    """The default as it is written; None if it must be given."""
    about: str
    """What the docstring says of it."""


class Signature(NamedTuple):
    """What a class takes, bases included."""

    arguments: dict[str, Argument]
    whole: bool
    """Whether these are all: False where a base or what becomes of **kwargs cannot be read."""
    about: str
    """The first line of the docstring."""
    name: str = ""


class _Module(NamedTuple):
    classes: dict[str, ast.ClassDef]
    values: dict[str, ast.expr]
    imports: dict[str, tuple[str, str]]
    """Where a name comes from: (module, name there)."""
    words: set[str]
    """What stands in its texts, docstrings among them, in runs of letters and underscores."""


def signature(class_path: str, root: Path) -> Signature | None:
    """The signature of a class, or None where its source cannot be found or has no such class.

    Args:
        class_path: as in a recipe, "package.module.Class".
        root: the repository; packages beside it are looked for where Python does.
    """
    module, _, name = class_path.rpartition(".")
    return _signature(module, name, root) if module else None


def batch_read(class_path: str, root: Path) -> str | None:
    """The kind of batch that a method's `training_step` is annotated with, such as "Sentences"."""
    for node in _lineage(class_path, root):
        for function in node.body:
            if isinstance(function, ast.FunctionDef) and function.name == "training_step":
                annotation = function.args.args[1].annotation if len(function.args.args) > 1 else None
                return None if annotation is None else ast.unparse(annotation)
    return None


def class_constant(class_path: str, constant: str, root: Path) -> str | None:
    """The text that a class or the first of its bases assigns to a name in its body, as in `name = "digits"`."""
    for node in _lineage(class_path, root):
        for line in node.body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            value = getattr(line, "value", None)
            if any(isinstance(t, ast.Name) and t.id == constant for t in targets) and isinstance(value, ast.Constant):
                return str(value.value)
    return None


def _lineage(class_path: str, root: Path) -> Iterator[ast.ClassDef]:
    """The class, the first of its bases, the first of that one's, as far as their source can be read."""
    module, _, name = class_path.rpartition(".")
    place = _find(module, name, root) if module else None
    while place is not None:
        module, node = place
        yield node
        above = [base.id for base in node.bases if isinstance(base, ast.Name)]
        place = _find(module, above[0], root) if above else None


def spells(class_path: str, name: str, root: Path) -> bool:
    """Whether the module of a class, or one of ours that it imports, has all words of a name in its texts.

    A name such as "text_to_image/recall@5/gallery4000" is put together of the texts "text_to_image", "recall@" and
    "gallery" there; a word may be put together of two.
    """
    words = set().union(*(read.words for read in _reached(class_path, ("common", "data", "papers"), root)))
    return all(
        word in words or any(word[:i] in words and word[i:] in words for i in range(1, len(word)))
        for word in re.findall("[A-Za-z_]+", name)
    )


def found(class_path: str, root: Path) -> bool:
    """Whether the source of a class is found."""
    module, _, name = class_path.rpartition(".")
    return bool(module) and _find(module, name, root) is not None


def classes(module: str, root: Path) -> list[str]:
    """The names of the classes that a module defines."""
    read = _read(module, root)
    return [] if read is None else list(read.classes)


def is_importable(module: str, root: Path) -> bool:
    """Whether there is a file for a module, or it is one that Python itself would know of."""
    try:
        return _path(module, root) is not None or (
            importlib.util.find_spec(module.split(".")[0]) is not None
            and (module.split(".")[0] not in ("common", "data", "papers"))
        )
    except (ImportError, ValueError):
        return False


def mentions(path: str, name: str, root: Path, deep: bool = False) -> bool:
    """Whether a module defines or imports `name`, or cannot be read.

    Args:
        path: the module's.
        deep: `path` is that of a class, and what its module imports of the benchmarks counts too.
    """
    modules = _reached(path, ("data",), root) if deep else [_read(path, root)]
    return any(read is None or name in read.classes or name in read.imports or name in read.values for read in modules)


def _reached(class_path: str, packages: tuple[str, ...], root: Path) -> Iterator[_Module]:
    """The module of a class and those that it imports from some packages."""
    left, seen = [class_path.rpartition(".")[0]], set()
    while left:
        module = left.pop()
        read = _read(module, root) if module not in seen else None
        seen.add(module)
        if read is not None:
            yield read
            left += [there for there, _ in read.imports.values() if there.split(".")[0] in packages]


@functools.cache
def trainer_signature() -> Signature:
    """What Lightning's Trainer takes."""
    return _signature("lightning.pytorch.trainer.trainer", "Trainer", Path.cwd()) or Signature({}, False, "")


@functools.cache
def _signature(module: str, name: str, root: Path) -> Signature | None:
    place = _find(module, name, root)
    if place is None:
        return None
    module, node = place
    documented = _documented(ast.get_docstring(node) or "")
    about = (ast.get_docstring(node) or "").partition("\n")[0]
    constructor = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    own: dict[str, Argument] = {}
    # A class without a constructor has that of its bases.
    takers: list[tuple[ast.expr, set[str]]] = [(base, set()) for base in node.bases]
    if constructor is not None:
        documented |= _documented(ast.get_docstring(constructor) or "")
        own = {a.name: a for a in _own(constructor, module, documented, root)}
        takers = list(_takers(constructor, node.bases))
    whole = constructor is None or constructor.args.kwarg is None or bool(takers)
    for taker, fixed in takers:
        above = _signature(module, taker.id, root) if isinstance(taker, ast.Name) else None
        if above is None:
            # Lightning's own bases take nothing that a recipe could give.
            whole = whole and ast.unparse(taker).split(".")[-1] in ("object", "LightningModule", "LightningDataModule")
            continue
        own |= {k: v for k, v in above.arguments.items() if k not in fixed and k not in own}
        whole = whole and above.whole
    own = {key: argument._replace(about=_about(argument, module, root)) for key, argument in own.items()}
    return Signature(own, whole, about, name)


def _about(argument: Argument, module: str, root: Path) -> str:
    """What the docstring says, or that of the class which it sends the reader to."""
    sent = re.search(r"\bas in `(\w+)`", argument.about)
    there = _signature(module, sent[1], root) if sent else None
    found = there.arguments.get(argument.name) if there else None
    return found.about if found and found.about else argument.about


def _takers(constructor: ast.FunctionDef, bases: list[ast.expr]) -> Iterator[tuple[ast.expr, set[str]]]:
    """The classes that **kwargs is handed on to, each with the arguments that it is given besides."""
    kwargs = constructor.args.kwarg
    for node in ast.walk(constructor):
        if not (isinstance(node, ast.Call) and kwargs is not None):
            continue
        if any(k.arg is None and isinstance(k.value, ast.Name) and k.value.id == kwargs.arg for k in node.keywords):
            fixed = {keyword.arg for keyword in node.keywords if keyword.arg}
            above = bases if ast.unparse(node.func) == "super().__init__" else [node.func]
            yield from ((taker, fixed) for taker in above)


def _own(constructor: ast.FunctionDef, module: str, documented: dict[str, str], root: Path) -> Iterator[Argument]:
    given = constructor.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    for argument, default in pairs[1:]:
        kind = "" if argument.annotation is None else ast.unparse(_filled_in(argument.annotation, module, root))
        written = None if default is None else ast.unparse(_filled_in(default, module, root))
        yield Argument(argument.arg, kind, written, documented.get(argument.arg, ""))


def _filled_in(node: ast.expr, module: str, root: Path) -> ast.expr:
    """The expression with constants and aliases that it names replaced by what they stand for."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            found = _value(module, name.id, root)
            return found if found is not None else name

    return Fill().visit(ast.parse(ast.unparse(node), mode="eval").body)


def _value(module: str, name: str, root: Path, depth: int = 4) -> ast.expr | None:
    read = _read(module, root)
    if read is None or depth == 0:
        return None
    if name in read.values:
        return read.values[name]
    if name in read.imports:
        return _value(*read.imports[name], root, depth - 1)
    return None


def _find(module: str, name: str, root: Path, depth: int = 6) -> tuple[str, ast.ClassDef] | None:
    read = _read(module, root)
    if read is None or depth == 0:
        return None
    if name in read.classes:
        return module, read.classes[name]
    return _find(*read.imports[name], root, depth - 1) if name in read.imports else None


@functools.cache
def _read(module: str, root: Path) -> _Module | None:
    path = _path(module, root)
    if path is None:
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # whoever imports it will say what is wrong
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    read = _Module({}, {}, {}, {word for text in texts for word in re.findall("[A-Za-z_]+", text)})
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            read.classes[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _plain(node.value):
            read.values[node.targets[0].id] = node.value
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            read.imports.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
    return read


def _plain(value: ast.expr) -> bool:
    """A constant, or an alias of types such as Literal["a", "b"] | str."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return all(isinstance(side, ast.Name) or _plain(side) for side in (value.left, value.right))
    if isinstance(value, ast.Subscript):
        return isinstance(value.value, ast.Name) and value.value.id == "Literal"
    return isinstance(value, ast.Constant)


def _path(module: str, root: Path) -> Path | None:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    places = [root]
    try:
        package = importlib.util.find_spec(parts[0])  # of a top-level name, nothing is run
    except (ImportError, ValueError):
        package = None
    if package is not None and package.submodule_search_locations:
        places += [Path(place).parent for place in package.submodule_search_locations]
    places += [Path(place) for place in sys.path]
    for place in places:
        for path in (place.joinpath(*parts).with_suffix(".py"), place.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
        if parts[:2] == ["data", "benchmarks"] and len(parts) == 3:  # its bare name, without the room
            for path in sorted(place.glob(f"data/benchmarks/*/{parts[2]}.py")):
                return path
    return None


def _documented(docstring: str) -> dict[str, str]:
    """What the section "Args:" says of each argument."""
    found: dict[str, str] = {}
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, flags=re.MULTILINE | re.DOTALL)
    if section is None:
        return found
    for entry in re.split(r"^ {4}(?=\w)", section[1], flags=re.MULTILINE)[1:]:
        names, _, text = entry.partition(":")
        found |= dict.fromkeys(re.findall(r"\w+", names), " ".join(text.split()))
    return found
