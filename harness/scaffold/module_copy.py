"""One class out of a module under another name, with what it needs of the rest: the module of `papers new`."""

import ast
import sys
from collections.abc import Iterator

from common.errors import UserError
from common.experiments.card import Card
from common.lines import read_text

# What a class says of its own records; a new one has none.
_OF_RECORDS = {"recorded_as", "added_later"}


def copied(class_path: str, name: str, like: Card) -> str:
    """The source of a module that holds the class at `class_path` as `name`, and marks what is to be edited.

    What else its module defines is imported from there. A class from outside `papers` is not copied but subclassed.

    Raises:
        UserError: its module has no such class, or is no Python.
    """
    module, _, old = class_path.rpartition(".")
    docstring = f'"""EDIT: {name} in one line. So far it is {old} under another name."""\n'
    path = like.root / (module.replace(".", "/") + ".py")
    if not module.startswith("papers.") or not path.is_file():
        return f"{docstring}\nfrom {module} import {old}\n\n\nclass {name}({old}):\n    {_edited(old)}\n"
    text = read_text(path)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{path}{line}: {error.args[0]}") from None
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == old), None)
    if node is None:
        raise UserError(f"{path}: there is no class '{old}'")
    kept = [part for part in ast.iter_child_nodes(node) if not _names_records(part)]
    used = {n.id for part in kept for n in ast.walk(part) if isinstance(n, ast.Name)} | _quoted_names(node)
    imports = list(_imports(tree, used))
    there = sorted(_defined(tree) & used - {old})
    if there:
        imports.append(f"from {module} import {', '.join(there)}")
    return f"{docstring}\n{_grouped(imports)}\n\n\n{_class(text, node, name)}\n"


def _edited(old: str) -> str:
    return f'"""EDIT: what it changes in {old}, in one line."""'


def _quoted_names(node: ast.ClassDef) -> set[str]:
    """Names in annotations that are written as text."""
    texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return {text for text in texts if text.isidentifier()}


def _imports(tree: ast.Module, used: set[str]) -> Iterator[str]:
    """The module's imports, of each what the class uses."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            kept = [a for a in node.names if (a.asname or a.name).split(".")[0] in used]
            if kept:
                names = ", ".join(f"{a.name} as {a.asname}" if a.asname else a.name for a in kept)
                yield f"from {node.module} import {names}" if isinstance(node, ast.ImportFrom) else f"import {names}"


def _names_records(part: ast.AST) -> bool:
    """Whether it says under which names the records of the original know it, which a copy has none of."""
    return isinstance(part, ast.stmt) and bool(_assigned(part) & _OF_RECORDS)


def _defined(tree: ast.Module) -> set[str]:
    names = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    return names.union(*(_assigned(node) for node in tree.body))


def _assigned(node: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _grouped(imports: list[str]) -> str:
    """Imports in the order and the groups that the formatter wants: the house's own last."""
    groups: list[list[str]] = [[], [], []]
    for line in imports:
        package = line.split()[1].split(".")[0]
        ours = package in ("common", "data", "papers")
        groups[0 if package in sys.stdlib_module_names else 1 + ours].append(line)
    groups[2].sort(key=lambda line: line.split()[1])
    return "\n\n".join("\n".join(_wrapped(line) for line in group) for group in groups if group)


def _wrapped(line: str) -> str:
    if len(line) <= 120:
        return line
    head, _, names = line.partition(" import ")
    return f"{head} import (\n" + "".join(f"    {name},\n" for name in names.split(", ")) + ")"


def _class(text: str, node: ast.ClassDef, name: str) -> str:
    lines = text.splitlines()
    dropped: set[int] = set()
    for part in node.body:
        if _names_records(part):
            dropped |= set(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    body = [line for number, line in enumerate(lines[first - 1 : node.end_lineno], first) if number not in dropped]
    at = node.lineno - first
    body[at] = body[at].replace(f"class {node.name}", f"class {name}", 1)
    documented = ast.get_docstring(node, clean=False)
    if documented is not None:
        start = node.body[0].lineno - first
        end = (node.body[0].end_lineno or node.body[0].lineno) - first
        rest = documented.partition("Args:")[2]
        kept = [f'    """{_edited(node.name)[3:-3]}', "", f"    Args:{rest.rstrip()}", '    """'] if rest else []
        body[start : end + 1] = kept or [f"    {_edited(node.name)}"]
    return "\n".join(body)
