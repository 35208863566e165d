"""Strict reading of plain data into dataclasses: every error names the file, the line and what is allowed."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from common.errors import UserError
from common.experiments.yaml_lines import Document, Location, describe

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def closest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" with the best match of `name` among `known`, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Type of each field, and whether it must be given."""
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        f.name: (hints[f.name], f.default is missing and f.default_factory is missing)
        for f in dataclasses.fields(cls)
        if f.init and "from_folder" not in f.metadata
    }


def fail(document: Document, where: Location, message: str) -> typing.NoReturn:
    raise UserError(f"{document.at(where)}: {message}")


def decode(cls: type[T], document: Document, where: Location, value: Any, **given: Any) -> T:
    """Builds the dataclass `cls` from the mapping `value` found at `where`.

    Args:
        given: fields that do not stand in the file (marked with `from_folder` in the dataclass).

    Raises:
        UserError: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(value, dict):
        fail(document, where, f"{_name(where)} must be a mapping, found {describe(value)}")
    fields = _fields(cls)
    for key in value:
        if key not in fields:
            fail(document, (*where, key), f"unknown field '{key}'{closest(key, fields)}")
    for key, (_, required) in fields.items():
        if required and key not in value:
            fail(document, where, f"the field '{key}' is missing{_inside(where)}")
    return cls(**{k: convert(fields[k][0], document, (*where, k), v) for k, v in value.items()}, **given)


def check_class(document: Document, where: Location, value: dict[str, Any]) -> None:
    """Checks a `model` or `data` section of a recipe or an arm as far as the file alone allows.

    Raises:
        UserError: a key other than `class_path` and `init_args`, or one of the wrong type.
    """
    for key, part in value.items():
        known = {"class_path": str, "init_args": dict}
        if key not in known:
            hint = closest(key, known)
            fail(
                document, (*where, key), f"unknown key '{key}' in '{where[-1]}'{hint}; it has class_path and init_args"
            )
        convert(known[key] if known[key] is str else dict[str, Any], document, (*where, key), part)


def convert(kind: Any, document: Document, where: Location, value: Any) -> Any:
    """`value` as the annotation `kind` wants it; lists become tuples."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        kinds = [a for a in args if a is not type(None)]
        return convert(next((a for a in kinds if a is type(value)), kinds[-1]), document, where, value)
    if origin is Literal:
        if value not in args:
            fail(document, where, f"{_name(where)} must be {' or '.join(map(str, args))}, found {describe(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            fail(document, where, f"{_name(where)} must be a list, found {describe(value)}")
        return tuple(convert(args[0], document, (*where, i), v) for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            fail(document, where, f"{_name(where)} must be a mapping, found {describe(value)}")
        return {k: convert(args[1], document, (*where, k), v) for k, v in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return decode(kind, document, where, value)
    return _scalar(kind, document, where, value)


def _scalar(kind: type, document: Document, where: Location, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # A boolean is an int to Python, never to the author of a card.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        hint = "; put it in quotes" if kind is str and isinstance(value, int | float) else ""
        fail(document, where, f"{_name(where)} must be {wanted}, found {describe(value)}{hint}")
    if isinstance(value, str) and not value.strip():
        fail(document, where, f"{_name(where)} is empty")
    return value


def _name(where: Location) -> str:
    if where and isinstance(where[-1], int):
        return f"entry {where[-1] + 1} of '{where[-2]}'"
    return f"'{where[-1]}'" if where else "the card"


def _inside(where: Location) -> str:
    return f" in {_name(where)}" if where else ""
