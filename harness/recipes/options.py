"""The options of `papers fit`, `validate` and `test`: listed for a paper, and checked before anything heavy is loaded.

LightningCLI checks them all, and more thoroughly; but a slip of the pen should not cost the seconds that torch takes.
What cannot be told from the source alone is left to it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill, indent
from typing import Any, NamedTuple

from common.encoders import names
from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.card import Card
from common.experiments.schema import closest
from common.experiments.yaml_lines import Document
from harness.recipes import early
from harness.recipes.catalog import own_benchmarks
from harness.recipes.signatures import Signature, signature, trainer_signature
from harness.recipes.trainer_rules import RULES
from harness.recipes.written import load_recipe, recipe_names

FLAGS = {"untrained", "help", "h", "print_config", "resume", "dry-run"}
OF_FIT = {"resume", "dry-run"}
"""Flags that only a training has."""
FREE = FLAGS | {"config", "c", "seed_everything", "budget_s", "ckpt_path", "init_from"}
"""What a subcommand takes besides the sections."""
SECTIONS = ("trainer", "model", "data")


class Option(NamedTuple):
    key: str
    """Without dashes, as in "model.lr"."""
    value: str | None


def recipe_of(card: Card, words: list[str]) -> Document:
    """The recipe that the options start from: what --config names, a file here or beside the card, else mini.yaml."""
    named = [option.value or "" for option in parsed(words) if option.key in ("config", "c")]
    if not named:
        return load_recipe(card, "mini.yaml")
    path = Path(named[-1])
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    return yaml_lines.load(path) if there else load_recipe(card, named[-1])


def parsed(words: list[str]) -> Iterator[Option]:
    """Options with their values, "--key value" and "--key=value" alike.

    Raises:
        UserError: a word that belongs to no option, or an option without its value.
    """
    left = list(words)
    while left:
        word = left.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            raise UserError(f"unknown arguments: {' '.join([word, *left])}")
        key, equals, value = word.lstrip("-").partition("=")
        if equals or key in FLAGS:
            yield Option(key, value if equals else None)
        elif left and not re.match(r"--[A-Za-z]", left[0]):
            yield Option(key, left.pop(0))
        else:
            raise UserError(f"{word} needs a value")


def spelled_out(words: list[str]) -> list[str]:
    """The options with the paths of benchmarks on own data, which may be named by their class alone."""
    known, found, after = own_benchmarks(), [], False
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--data", "--data.class_path") and equals:
            word = f"{option}={known.get(value, value)}"
        elif after:
            word = known.get(word, word)
        after = word in ("--data", "--data.class_path")
        found.append(word)
    return found


def recipe_named(words: list[str]) -> list[str]:
    """The options with `--recipe full` written out, as `--config full.yaml`.

    Raises:
        UserError: no name follows.
    """
    found, after = [], False
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--recipe" and equals:
            word = f"--config={_file(value)}"
        elif after:
            word = _file(word)
        elif option == "--recipe":
            word = "--config"
        after = word == "--config" and option == "--recipe"
        found.append(word)
    if after:
        raise UserError("--recipe needs a value")
    return found


def _file(recipe: str) -> str:
    return recipe if recipe.endswith((".yaml", ".yml")) else f"{recipe}.yaml"


def check_options(card: Card, words: list[str], trains: bool = True) -> None:
    """Checks options by their names and, where its kind is plain, each value.

    Args:
        trains: whether the model is to be trained or scored on the data.

    Raises:
        UserError: names the option, the value and what is allowed.
    """
    options = list(parsed(words))
    recipe = recipe_of(card, words)
    takes = _signatures(card, recipe, options)
    for option in options:
        section, _, rest = option.key.partition(".")
        rest = rest.removeprefix("init_args.")
        if section in FREE and not rest:
            continue
        if section not in SECTIONS:
            raise UserError(f"unknown arguments: --{option.key}{'' if option.value is None else f' {option.value}'}")
        taken = takes[section]
        if taken is not None and rest:
            check_option(section, rest, option.value, taken)
    early.check(options, {section: _class_of(recipe, section) for section in ("model", "data")}, card.root, trains)


def check_option(section: str, rest: str, value: str | None, taken: Signature) -> None:
    """Checks one option by its name and, where its kind is plain, its value.

    Args:
        rest: the key below the section, as in "lr" or "encoder.width".
        taken: what the section's class takes.

    Raises:
        UserError: names the option, the value and what is allowed.
    """
    name = rest.split(".")[0].removesuffix("+")
    if name in ("class_path", "init_args", "dict_kwargs", "help"):
        return
    if name not in taken.arguments:
        if taken.whole:
            raise UserError(unknown(f"{section}.{name}", taken))
    elif rest == name and value is not None:
        _check_value(section, name, taken.arguments[name].kind, value)


def unknown(key: str, taken: Signature) -> str:
    """The message for an option that a class does not take, as in "model.temprature"."""
    listed = "" if key.startswith("trainer.") else f"; {taken.name} takes {', '.join(taken.arguments)}"
    return f"unknown option {key}{closest(key.rpartition('.')[2], taken.arguments)}{listed}"


def _signatures(card: Card, recipe: Document, options: list[Option]) -> dict[str, Signature | None]:
    """What the trainer and the classes that recipe and options name take; None where the source does not say."""
    takes: dict[str, Signature | None] = {"trainer": trainer_signature()}
    for section in ("model", "data"):
        class_path = _chosen(recipe, options, section)
        takes[section] = signature(class_path, card.root) if class_path is not None else None
    return takes


def _chosen(recipe: Document, options: list[Option], section: str) -> str | None:
    """The class that the last option names, or else the recipe."""
    named = [option.value for option in options if option.key in (section, f"{section}.class_path")]
    return named[-1] if named else _class_of(recipe, section)


def _class_of(recipe: Document, section: str) -> str | None:
    written = recipe.data.get(section)
    class_path = written.get("class_path") if isinstance(written, dict) else None
    return class_path if isinstance(class_path, str) else None


def _check_value(section: str, name: str, kind: str, text: str) -> None:
    value = _read(text)
    if section == "trainer" and name in RULES and (not isinstance(value, str) or name in ("devices", "precision")):
        rule = RULES[name]
        if value is not _UNREAD and not rule.right(value):
            raise UserError(f"trainer.{name} is {value!r}; it must be {rule.allowed}")
    parts = kinds(kind)
    if names.OWN in parts and not text.startswith("{"):
        names.check_encoder(f"{section}.{name}", text, choices(kind) or (text,))
    if not all(part in _KINDS or part.startswith("Literal[") for part in parts):
        return
    if not any(_fits(part, text, value) for part in parts):
        words = [" or ".join(map(repr, _choices(p))) if p.startswith("Literal[") else _KINDS[p] for p in parts]
        raise UserError(f"{section}.{name} is '{text}'; it must be {' or '.join(words)}")


def kinds(annotation: str) -> list[str]:
    """The members of a union, as in "Literal['a', 'b'] | None"."""
    return re.split(r" \| (?![^\[]*\])", annotation)


def choices(annotation: str) -> list[Any]:
    """The values of all its literals."""
    return [choice for part in kinds(annotation) if part.startswith("Literal[") for choice in _choices(part)]


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "None": "null"}
_UNREAD = object()


def _read(text: str) -> Any:
    """A plain value as YAML reads it; `_UNREAD` for anything else."""
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text in ("null", "~", "None", ""):
        return None
    try:
        return float(text)
    except ValueError:
        return text if re.fullmatch(r"[\w./-]+", text) else _UNREAD


def _fits(kind: str, text: str, value: Any) -> bool:
    if value is _UNREAD or kind == "str":
        return True  # left to LightningCLI
    if kind.startswith("Literal["):
        return text in map(str, _choices(kind))
    if kind == "None":
        return value is None
    if kind == "bool":
        return isinstance(value, bool)
    wanted = int if kind == "int" else int | float
    return (isinstance(value, wanted) and not isinstance(value, bool)) or (
        isinstance(value, str) and text.startswith(".")
    )


def _choices(kind: str) -> tuple[Any, ...]:
    found = ast.literal_eval(kind.removeprefix("Literal").replace("[", "(", 1)[:-1] + ",)")
    return found if isinstance(found, tuple) else (found,)


def print_help(card: Card, command: str, words: list[str]) -> None:
    """Every option of the recipe's classes and of the trainer, with kind, value and what it is for."""
    words = [word for word in words if word not in ("--help", "-h")]
    options, recipe = list(parsed(words)), recipe_of(card, words)
    print(f"usage: papers {command} {card.slug} [--recipe NAME | --config FILE] [--OPTION VALUE ...]\n")
    print(f"Starts from {recipe.shown}; what stands on the command line holds over it.\n")
    own = [
        ("--config FILE", f"{', '.join(recipe_names(card))} or any file like them; --recipe full is full.yaml"),
        ("--print_config", "print the resolved recipe and stop"),
        ("--seed_everything N", "fixes the initial weights; data.seed fixes the order of the data"),
        ("--ckpt_path FILE", "checkpoint to start from: of `papers fit`, or `last` for the newest"),
    ]
    own.append(("--init_from PATH", "weights to begin with: a checkpoint, a safetensors file, a model's folder"))
    if command == "fit":
        own.append(("--resume", "go on with the newest checkpoint of the same training, if there is one"))
        own.append(("--dry-run", "say parameters, memory, steps and data, and stop"))
    else:
        own.append(("--untrained", "score the weights that a training starts from"))
    for name, about in own:
        print(fill(about, 98, initial_indent=f"  {name:<22}", subsequent_indent=" " * 24))
    for section, taken in _signatures(card, recipe, options).items():
        if section != "trainer":
            chosen, written = str(_chosen(recipe, options, section)), recipe.data.get(section, {})
            arguments = written.get("init_args") or {}
            if chosen != written.get("class_path") and taken is not None:  # another class keeps what it takes as well
                arguments = {name: value for name, value in arguments.items() if _taken(section, name, value, taken)}
            _print_section(section, chosen, taken, arguments)
    names = ", ".join(trainer_signature().arguments)
    print(f"\ntrainer: Lightning's Trainer\n{indent(fill(names, 96), '  ')}")
    said = ", ".join(f"{key} {value}" for key, value in (recipe.data.get("trainer") or {}).items())
    print(fill(f"The recipe says {said or 'nothing of it'}.", 98, initial_indent="  ", subsequent_indent="  "))


def _taken(section: str, name: str, value: Any, taken: Signature) -> bool:
    try:
        if name in taken.arguments:
            _check_value(section, name, taken.arguments[name].kind, str(value))
    except UserError:
        return False
    return name in taken.arguments


def _print_section(section: str, class_path: str, taken: Signature | None, written: dict[str, Any]) -> None:
    print(f"\n{section}: {class_path}")
    if taken is None:
        print("  its source cannot be read; see its documentation")
        return
    if taken.about:
        print(indent(fill(taken.about, 96), "  "))
    for argument in taken.arguments.values():
        value = written.get(argument.name, argument.default)
        source = "recipe" if argument.name in written else "default"
        shown = "must be given" if value is None and source == "default" else f"{source}: {value}"
        print(f"  --{section}.{argument.name} {_short(argument.kind)} ({shown})")
        if argument.about:
            print(fill(argument.about, 96, initial_indent=" " * 6, subsequent_indent=" " * 6))


def _short(kind: str) -> str:
    parts = kinds(kind)
    if names.OWN in parts:
        return "|".join([*choices(kind), *names.FORMS])
    if parts[0].startswith("Literal["):
        return "|".join([*map(str, choices(kind)), *(part for part in parts if not part.startswith("Literal["))])
    return kind or "VALUE"
