"""What makes two runs the same: a hash of what decides their outcome, under names that outlive moving and renaming.

Scheme 2 (`records.HASH_VERSION`). A recipe is hashed with the defaults of its constructors filled in; a class in it
stands under its own name, wherever its module lies, and a renamed one under its old name if it says so:
`recorded_as = "OldName"`. A check is hashed by its function and what this reaches in its file, docstrings and comments
left out. What the code called by either computes is no part of the hash: the losses of the first steps watch over it
(see `canary`).
"""

import ast
import hashlib
import json
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.experiments.card import Card, Comparison, Experiment, Property

# What does not change the outcome: where data lie, how a run is shown, on how many devices it is spread.
_NOT_IN_HASH = {
    "data": {"seed", "data_root", "num_workers"},
    "trainer": {
        *("accelerator", "devices", "num_nodes", "strategy"),
        *("logger", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"),
        *("default_root_dir", "profiler"),
    },
}


def counts(key: str) -> bool:
    """Whether another value at a place in the recipe, as in "trainer.devices", makes another run of it."""
    section, _, rest = key.partition(".")
    return rest.partition(".")[0] not in _NOT_IN_HASH.get(section, ())


class ClassIdentity(NamedTuple):
    """What the hash knows of a class."""

    name: str
    added: dict[str, Any]
    """The arguments that it took on after runs were recorded, each with the value under which it does as before."""


def class_identity(class_path: str) -> ClassIdentity:
    """The stable name of a class, and what it and its bases list in `added_later`.

    A class names there what it took on after runs were recorded, with the value under which it still does what it did:
    `added_later = {"margin": 0.0}`. Those records stay valid.
    """
    cls = pydoc.locate(class_path)
    assert isinstance(cls, type), class_path
    added = {k: v for base in cls.__mro__ for k, v in vars(base).get("added_later", {}).items()}
    return ClassIdentity(vars(cls).get("recorded_as", cls.__name__), added)


def recipe_hash(
    config: dict[str, Any],
    resolved: dict[str, Any],
    identify: Callable[[str], ClassIdentity] = class_identity,
) -> str:
    """SHA-256 of what decides the outcome of a run, its seed left out.

    Args:
        config: as written. Of the trainer only these keys count: its defaults change with Lightning's version, which
            is in the record anyway.
        resolved: the same with defaults (see `recipe.resolve`).
        identify: what is known of the class at a class_path.
    """

    def stable(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [stable(v) for v in value]
        if not isinstance(value, dict):
            return value
        kept = {k: stable(v) for k, v in value.items()}
        if isinstance(path := kept.pop("class_path", None), str):
            kept["class"], added = identify(path)
            arguments = kept.get("init_args") or {}
            kept["init_args"] = {k: v for k, v in arguments.items() if not (k in added and v == stable(added[k]))}
        return kept

    model, data = stable(resolved["model"]), stable(resolved["data"])
    data["init_args"] = {k: v for k, v in data.get("init_args", {}).items() if k not in _NOT_IN_HASH["data"]}
    written = [k for k in config.get("trainer", {}) if k not in _NOT_IN_HASH["trainer"]]
    trainer = {k: stable(resolved["trainer"][k]) for k in written}
    text = json.dumps({"model": model, "data": data, "trainer": trainer}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def arm_hash(card: Card, experiment: Comparison, arm: str, recipe: str | None = None) -> str:
    """The `recipe_hash` that a run of this arm gets today.

    Args:
        recipe: a recipe file of the paper instead of the experiment's own.
    """
    from harness.recipes.recipe import arm_config, resolve_arm  # loads torch

    return recipe_hash(arm_config(card, experiment, arm, recipe), resolve_arm(card, experiment, arm, recipe))


def check_hash(card: Card, experiment: Property) -> str:
    """What stands for the recipe of a property: see `function_hash`.

    Raises:
        UserError: the file of the check or the function in it does not exist.
    """
    module, _, name = experiment.check.partition(":")
    path = card.root / (module.replace(".", "/") + ".py")
    try:
        return function_hash(path, name)
    except OSError as error:
        raise UserError(
            f"{card.slug}/{experiment.name}: the check '{experiment.check}' has no file: {error.strerror}: {path}"
        ) from None
    except KeyError:
        raise UserError(
            f"{card.slug}/{experiment.name}: the check '{experiment.check}' has no function '{name}' in {path}"
        ) from None


def experiment_hash(card: Card, experiment: Experiment, arm: str, recipe: str | None = None) -> str:
    """`arm_hash` of a comparison, `check_hash` of a property."""
    if isinstance(experiment, Comparison):
        return arm_hash(card, experiment, arm, recipe)
    return check_hash(card, experiment)


def function_hash(path: Path, name: str) -> str:
    """SHA-256 over a function of a file and all that it reaches there: functions, classes, constants, imported names.

    Comments, docstrings, layout and the rest of the file do not count, nor where a name is imported from.

    Raises:
        UserError: the file is no Python.
        OSError: it cannot be read.
        KeyError: it defines no such name.
    """
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: {error.msg}") from None
    except ValueError as error:  # no UTF-8, or a null byte
        raise UserError(f"{path}: {error}") from None
    defined: dict[str, list[str]] = {}
    reached_by: dict[str, set[str]] = {}
    for statement in body:
        for node in ast.walk(statement):
            _drop_docstring(node)
        for own, text in _defines(statement).items():
            defined.setdefault(own, []).append(text)
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            reached_by.setdefault(own, set()).update(names)
    waiting, reached = [name], {name}
    while waiting:
        new = (reached_by[waiting.pop()] & defined.keys()) - reached
        reached |= new
        waiting += new
    text = json.dumps([name, {own: defined[own] for own in sorted(reached)}])
    return hashlib.sha256(text.encode()).hexdigest()


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        rest = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        node.body = rest or [ast.Pass()]


def _defines(statement: ast.stmt) -> dict[str, str]:
    """The names that a statement at the top of a file defines, each with the code that stands for it."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        # `import a.b` gives the name `a`; of `from m import a as b` it is `a` that counts, wherever m lies.
        names = {(a.asname or a.name.partition(".")[0]): a.name.rpartition(".")[2] for a in statement.names}
        return {own: f"import {name}" for own, name in names.items()}
    # Unparsed code is the same for all versions of Python, unlike a dump of the tree.
    text = ast.unparse(statement)
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name: text}
    stored = [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return dict.fromkeys(stored, text)
