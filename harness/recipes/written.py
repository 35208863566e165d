"""Recipes and arms as they are written, without what their classes say: nothing here loads torch."""

import ast
import copy
import math
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.card import Card, Comparison, untrained
from common.experiments.schema import check_class, closest
from common.experiments.yaml_lines import Document, describe
from harness.recipes.signatures import signature
from harness.recipes.trainer_rules import SEED

SECTIONS = ("seed_everything", "budget_s", "model", "data", "trainer")


def recipe_names(card: Card) -> list[str]:
    """The recipe files beside a card."""
    return sorted(path.name for path in card.folder.glob("*.yaml") if path.name != "paper.yaml")


def load_recipe(card: Card, recipe: str) -> Document:
    """Reads a recipe file that lies beside the card.

    Raises:
        UserError: no such file, no valid YAML, an unknown section or a missing one; names file and line.
    """
    if recipe not in recipe_names(card):
        raise UserError(f"{card.slug} has no recipe '{recipe}'; it has: {', '.join(recipe_names(card)) or 'none'}")
    document = yaml_lines.load(card.folder / recipe, card.root)
    for section, value in document.data.items():
        if section not in SECTIONS:
            raise UserError(f"{document.at((section,))}: unknown section '{section}'{closest(section, SECTIONS)}")
        if section not in ("seed_everything", "budget_s") and not isinstance(value, dict):
            raise UserError(f"{document.at((section,))}: '{section}' must be a mapping")
    if not SEED.right(seed := document.data.get("seed_everything", 0)):
        raise UserError(
            f"{document.at(('seed_everything',))}: 'seed_everything' is {describe(seed)}; it must be {SEED.allowed}"
        )
    budget = document.data.get("budget_s", 1)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < math.inf:
        raise UserError(f"{document.at(('budget_s',))}: 'budget_s' is {budget!r}; it must be a number above 0")
    for section in ("model", "data"):
        if "class_path" not in document.data.get(section, {}):
            raise UserError(f"{document.at((section,))}: '{section}' needs a class_path")
        check_class(document, (section,), document.data[section])
    return document


def merge(base: Any, override: Any) -> Any:
    """`override` laid over `base`: mappings merge key by key, everything else is replaced.

    A mapping with another class_path replaces the whole of the old one: the arguments of one class mean nothing to
    the next.
    """
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return copy.deepcopy(override)
    if override.get("class_path", base.get("class_path")) != base.get("class_path"):
        return copy.deepcopy(override)
    merged = {key: copy.deepcopy(value) for key, value in base.items() if key not in override}
    return merged | {key: merge(base.get(key), value) for key, value in override.items()}


def arm_config(card: Card, experiment: Comparison, arm: str, recipe: str | None = None) -> dict[str, Any]:
    """The configuration of an arm: the recipe with the arm's overrides, as written, without defaults and seed.

    Args:
        arm: one of the card's, or what `card.untrained` makes of it: its network, scored as it starts.
        recipe: a recipe file of the paper instead of the experiment's own.
    """
    if arm.endswith(untrained("")):
        config = arm_config(card, experiment, arm.removesuffix(untrained("")), recipe)
        # How long and by what it would have been trained does not matter, so it is no part of its hash either.
        kept = {k: v for k, v in config.get("trainer", {}).items() if k in ("accelerator", "devices", "precision")}
        return config | {"trainer": kept | {"max_steps": 0}}
    if arm not in experiment.arms:
        known = ", ".join(experiment.arms)
        raise UserError(
            f"{card.slug}/{experiment.name} has no arm '{arm}'{closest(arm, experiment.arms)}; it has: {known}"
        )
    document = load_recipe(card, recipe or experiment.recipe)
    config = merge(document.data, experiment.arms[arm].overrides)
    if recipe not in (None, experiment.recipe):
        # The card was written with the experiment's own recipe in mind. An arm of another class keeps of this one what
        # it says nothing of: the published encoder, say, and not the default of its class.
        for section in ("model", "data"):
            if config[section]["class_path"] != document.data[section]["class_path"]:
                config[section] = _carried(document.data[section], config[section], card)
    return {section: content for section, content in config.items() if section not in ("seed_everything", "budget_s")}


def _carried(base: dict[str, Any], changed: dict[str, Any], card: Card) -> dict[str, Any]:
    taken = signature(changed["class_path"], card.root)
    kept = {k: v for k, v in base.get("init_args", {}).items() if taken is not None and k in taken.arguments}
    return changed | {"init_args": copy.deepcopy(kept) | changed.get("init_args", {})}


def value_at(config: dict[str, Any], where: str, root: Path) -> Any:
    """What an arm has at a place of its configuration, as in "model.temperature" or "data.sizes.0".

    Args:
        config: from `arm_config`.

    Returns:
        The value; what is written nowhere has the default of its class, and None if that has none.
    """
    section, *keys = where.split(".")
    value: Any = config.get(section, {})
    if section != "trainer":
        taken, value = signature(value["class_path"], root), value.get("init_args", {})
        if keys[0] not in value and taken is not None and keys[0] in taken.arguments:
            value = {keys[0]: _literal(taken.arguments[keys[0]].default)}
    for key in keys:
        inside = isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value)
        value = value[int(key)] if inside else value.get(key) if isinstance(value, dict) else None
    return value


def _literal(text: str | None) -> Any:
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def full_recipes(card: Card, name: str | None = None) -> dict[str, list[str]]:
    """The experiments to run as published, by their recipe file: what "mini" is to "full" in a file's name.

    Args:
        name: one experiment; by default all comparisons of the card that have a full recipe.

    Raises:
        UserError: it is no comparison, or there is no such recipe.
    """
    chosen = [card.experiment(name)] if name is not None else list(card.experiments)
    found: dict[str, list[str]] = {}
    for experiment in chosen:
        file = experiment.recipe.replace("mini", "full", 1) if isinstance(experiment, Comparison) else ""
        if file in recipe_names(card):
            found.setdefault(file, []).append(experiment.name)
        elif name is not None:
            lacks = f"there is no {file} beside its card" if file else "it is a property, which has no recipe"
            raise UserError(f"{card.slug}/{name} has no full recipe: {lacks}")
    if not found:
        raise UserError(f"no experiment of {card.slug} has a full recipe")
    return found
