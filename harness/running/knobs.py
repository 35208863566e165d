"""Single values of a recipe by their place, as in `model.temperature`: read from the command line, checked, changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.schema import closest
from harness.recipes.options import check_option
from harness.recipes.signatures import Signature, signature, trainer_signature
from harness.recipes.written import merge
from harness.records.identity import counts

SECTIONS = ("model", "data", "trainer")
INSTEAD = {
    "data.seed": "the seeds are those on record; --seeds N takes the first N of them",
    "data.data_root": "say it with --data-root",
    "trainer.devices": "say it with --devices",
    "trainer.accelerator": "say it with --accelerator",
}
"""What makes no other run of a recipe, and how it is said."""


def places(config: dict[str, Any], knob: str) -> list[str]:
    """The way to a value in a configuration; `model.encoder.width` is that of the class at `model.encoder`."""
    section, *path = knob.split(".")
    found, at = [section], config.get(section, {})
    for name in path:
        if section != "trainer" and (len(found) == 1 or (isinstance(at, dict) and "class_path" in at)):
            found.append("init_args")
            at = at.get("init_args", {})
        found.append(name)
        at = at.get(name, {}) if isinstance(at, dict) else {}
    return found


def change(config: dict[str, Any], knob: str, value: Any) -> dict[str, Any]:
    """What is to be merged over the configuration so that it has the value."""
    for name in reversed(places(config, knob)):
        value = {name: value}
    return value


def with_knob(config: dict[str, Any], knob: str, value: Any) -> dict[str, Any]:
    """The configuration with one value changed."""
    return merge(config, change(config, knob, value))


def value_at(config: dict[str, Any], knob: str) -> Any:
    """The value at a place; None where nothing is."""
    at: Any = config
    for name in places(config, knob):
        at = at.get(name) if isinstance(at, dict) else None
    return at


def said(value: Any) -> str:
    """A value as one would write it in a recipe."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def read_sets(words: Sequence[str]) -> dict[str, list[Any]]:
    """The values asked for of each key, as in "model.temperature=0.05,0.1".

    Raises:
        UserError: it is no such pair, no YAML, or the same key again.
    """
    asked: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = ".".join(part for part in key.strip().split(".") if part != "init_args")
        if not equals or not key or not text.strip():
            raise UserError(f"--set is '{word}'; it must be KEY=VALUE, as in model.temperature=0.1")
        if key in asked:
            raise UserError(f"--set names {key} twice; to try several values of it: {key}=A,B")
        try:
            asked[key] = yaml_lines.flow(text)
        except ValueError as error:
            raise UserError(f"--set {key}: '{text}' cannot be read as a value: {error}") from None
    return asked


def _signatures(config: dict[str, Any], root: Path) -> dict[str, Signature | None]:
    classes = {section: signature(config[section]["class_path"], root) for section in ("model", "data")}
    return classes | {"trainer": trainer_signature()}


def settable(config: dict[str, Any], root: Path) -> list[str]:
    """The keys that an arm takes and that make another run of it, as far as sources tell; nothing is imported."""
    keys = [
        f"{section}.{name}"
        for section, taken in _signatures(config, root).items()
        for name in (taken.arguments if taken is not None else ())
    ]
    return [key for key in keys if counts(key)]


def check_sets(config: dict[str, Any], asked: dict[str, list[Any]], root: Path) -> None:
    """Checks keys and plain values before anything heavy is loaded; what is nested shows when the arm is resolved.

    Args:
        config: that of the arm which is changed.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    taken = _signatures(config, root)
    for key, values in asked.items():
        section, _, rest = key.partition(".")
        if section not in SECTIONS or not rest:
            known = settable(config, root)
            near = next((one for one in known if one.rpartition(".")[2] == key.rpartition(".")[2]), None)
            hint = f" (did you mean '{near}'?)" if near else closest(key, known)
            raise UserError(f"--set {key}: unknown key{hint}; a key begins with {', '.join(SECTIONS)} and a dot")
        if rest.rpartition(".")[2] == "class_path":
            raise UserError(
                f"--set {key}: another class takes other arguments; an arm on a card says which (`papers new`)"
            )
        if not counts(key):
            why = INSTEAD.get(key, "it does not change what a run finds")
            raise UserError(f"--set {key}: {why}")
        of = taken[section]
        for value in values if of is not None else ():
            try:
                check_option(section, rest, str(value), of)
            except UserError as error:
                raise UserError(f"--set {key}: {error}") from None
