"""YAML that remembers its lines, so that an error can name the place."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError

Location = tuple[str | int, ...]
"""The way to a node: keys of mappings and indices of lists, as in ("experiments", 0, "seeds")."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML as the recipes' own parser (jsonargparse) reads it, and without the traps of YAML 1.1.

    1e-4 is a number, a date is text, and only true and false are booleans: `no` is Norwegian.
    """


def _resolver(tag: str, pattern: str, first: str) -> None:
    table = {
        letter: [(known, regexp) for known, regexp in rules if known != tag]
        for letter, rules in _Loader.yaml_implicit_resolvers.items()
    }
    _Loader.yaml_implicit_resolvers = table
    if pattern:
        _Loader.add_implicit_resolver(tag, re.compile(pattern), list(first))


_resolver("tag:yaml.org,2002:timestamp", "", "")
_resolver("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolver(
    "tag:yaml.org,2002:float",
    r"^(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    "-+0123456789.",
)


@dataclass(frozen=True)
class Document:
    """The content of one YAML file, and the line of each of its nodes."""

    path: Path
    shown: str
    """The path as error messages print it."""
    data: Any
    lines: dict[Location, int]

    def at(self, where: Location) -> str:
        """ "file:line" of the node at `where`, or of the nearest node above it."""
        while where and where not in self.lines:
            where = where[:-1]
        return f"{self.shown}:{self.lines.get(where, 1)}"


def shown(path: Path, root: Path | None = None) -> str:
    """`path` relative to `root` where it lies below it."""
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return str(path)


def load(path: Path, root: Path | None = None) -> Document:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        UserError: the file is missing, is no YAML, repeats a key or holds no mapping; names file and line.
    """
    name = shown(path, root)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        data = _build(loader, node, (), lines, name) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}:1: not valid YAML: {str(error).splitlines()[0]}") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: expected fields such as 'name: value', found {describe(data)}")
    return Document(path, name, data, lines)


def _build(loader: Any, node: yaml.Node, where: Location, lines: dict[Location, int], name: str) -> Any:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*where, i), lines, name) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key)
        if key in result:
            raise UserError(f"{name}:{key_node.start_mark.line + 1}: the field '{key}' stands here a second time")
        result[key] = _build(loader, value_node, (*where, key), lines, name)
        # The line of a field is that of its name: a block below it starts a line later.
        lines[(*where, key)] = key_node.start_mark.line + 1
    return result


def describe(value: Any) -> str:
    """A value and its type in words, short enough for an error message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    kind = {bool: "a boolean", int: "a whole number", float: "a number", str: "text"}.get(
        type(value), type(value).__name__
    )
    text = str(value) if len(str(value)) <= 40 else str(value)[:37] + "..."
    return f"'{text}' ({kind})"
