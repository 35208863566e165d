"""YAML that remembers its lines, so that an error can name the place."""

import bisect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from common.errors import UserError

Location = tuple[str | int, ...]
"""The way to a node: keys of mappings and indices of lists, as in ("experiments", 0, "seeds")."""

LARGEST = 512 * 1024
"""Bytes in a file."""
MOST = 50_000
"""Values in a file, aliases counted as what they stand for."""
DEEPEST = 64
"""Levels of nesting; a card needs eight."""
_TAG = "tag:yaml.org,2002:"


if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader
else:
    from yaml import CSafeLoader as SafeLoader  # several times as fast


class _Loader(SafeLoader):
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
        UserError: the file is missing, too large or nested too deeply, is no YAML, repeats a key or holds no mapping;
            names file and line.
    """
    name = shown(path, root)
    data, lines = _parsed(_text(path, name), name)
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: expected fields such as 'name: value', found {describe(data)}")
    return Document(path, name, data, lines)


def flow(text: str) -> list[Any]:
    """The values of "0.05, 0.1" or "[1, 2], true", read as a recipe would read them.

    Raises:
        ValueError: it is no YAML; says what is wrong.
    """
    try:
        values, _ = _parsed(f"[{text}]", "")
    except UserError as error:
        raise ValueError(str(error).partition(": ")[2]) from None
    return values


def _parsed(text: str, name: str) -> tuple[Any, dict[Location, int]]:
    """The data of a document and the line of each of its nodes."""
    loader = _Loader(text)
    try:
        reader = _Reader(loader, name, text)
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}:1: not valid YAML: {str(error).splitlines()[0]}") from None
    finally:
        loader.dispose()


def _text(path: Path, name: str) -> str:
    try:
        # A pipe or a device could be read without end.
        if path.exists() and not path.is_file():
            raise UserError(f"{name}: cannot be read: it is no file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST:
        raise UserError(f"{name}: is larger than {LARGEST // 1024} KiB; no card or recipe is")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


class _Reader:
    """Builds data and lines from the parser's events, within bounds that PyYAML's own composer does not have.

    An alias is what it stands for, read again at its place: nine lines can so stand for a billion, or for themselves.
    """

    def __init__(self, loader: Any, name: str, text: str) -> None:
        self.loader, self.name = loader, name
        self.ends = [found.start() for found in re.finditer("\n", text)]
        self.events: list[yaml.Event] = []
        self.anchors: dict[str, int] = {}
        """Where in `events` a node with an anchor begins."""
        self.open: set[str] = set()
        self.lines: dict[Location, int] = {}
        self.left = MOST

    def document(self) -> Any:
        depth = 0
        while self.loader.check_event():
            event = self.loader.get_event()
            self.events.append(event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                self._fail(event, f"nested more than {DEEPEST} levels deep")
            if len(self.events) > 3 * MOST:
                self._fail(event, f"holds more than {MOST} values; no card or recipe does")
            if isinstance(event, yaml.DocumentStartEvent) and len(self.events) > 2:
                self._fail(event, "a second document begins; a card or recipe is one")
        return self._node(2, ())[0] if len(self.events) > 3 else None

    def _node(self, at: int, where: Location) -> tuple[Any, int]:
        """The value of the node that begins at event `at`, and the event after it."""
        event = self.events[at]
        self.left -= 1
        if self.left < 0:
            self._fail(event, f"the aliases stand for more than {MOST} values")
        if len(where) > DEEPEST:
            self._fail(event, f"the aliases nest more than {DEEPEST} levels deep")
        assert isinstance(event, yaml.AliasEvent | yaml.ScalarEvent | yaml.CollectionStartEvent)
        anchor = event.anchor
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self.anchors:
                self._fail(event, f"the alias '*{anchor}' stands for nothing above it")
            if anchor in self.open:
                self._fail(event, f"the alias '*{anchor}' stands for itself")
            return self._node(self.anchors[anchor], where)[0], at + 1
        self.lines[where] = self._line(event)
        if anchor is not None:
            self.anchors[anchor] = at
            self.open.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            value, after = self._scalar(event), at + 1
        elif event.tag not in (None, "!", _TAG + "seq", _TAG + "map"):
            self._fail(event, f"the tag '{event.tag}' is not read here; plain values alone are")
        elif isinstance(event, yaml.SequenceStartEvent):
            value, after = self._sequence(at + 1, where)
        else:
            value, after = self._mapping(at + 1, where)
        if anchor is not None:
            self.open.discard(anchor)
        return value, after

    def _sequence(self, at: int, where: Location) -> tuple[list[Any], int]:
        result: list[Any] = []
        while not isinstance(self.events[at], yaml.SequenceEndEvent):
            value, at = self._node(at, (*where, len(result)))
            result.append(value)
        return result, at + 1

    def _mapping(self, at: int, where: Location) -> tuple[dict[str, Any], int]:
        result: dict[str, Any] = {}
        while not isinstance(self.events[at], yaml.MappingEndEvent):
            event = self.events[at]
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, "the name of a field must be plain text")
            key = event.value
            if key == "<<" and event.implicit[0]:
                self._fail(event, "the merge key '<<' is not read here; write the fields out")
            if key in result:
                self._fail(event, f"the field '{key}' stands here a second time")
            result[key], at = self._node(at + 1, (*where, key))
            # The line of a field is that of its name: a block below it starts a line later.
            self.lines[(*where, key)] = self._line(event)
        return result, at + 1

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind = tag.removeprefix(_TAG)
        if kind in ("str", "value", "merge"):
            return event.value
        if kind not in ("int", "float", "bool", "null"):
            self._fail(event, f"the tag '{tag}' is not read here; plain values alone are")
        try:
            return self.loader.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, IndexError):
            words = describe(event.value)
            self._fail(event, f"{words} cannot be read as {'a number' if kind in ('int', 'float') else kind}")

    def _fail(self, event: yaml.Event, message: str) -> NoReturn:
        raise UserError(f"{self.name}:{self._line(event)}: {message}")

    def _line(self, event: yaml.Event) -> int:
        """Counted from 1, as an editor does: YAML ends a line at U+0085, U+2028 and U+2029, too."""
        return bisect.bisect_left(self.ends, event.start_mark.index) + 1 if event.start_mark else 1


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
