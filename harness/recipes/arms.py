"""What an arm changes, and whether it says so."""

import ast
from typing import Any

from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.card import Card, Comparison
from harness.recipes.signatures import Signature, signature
from harness.recipes.written import load_recipe


def check_arms(card: Card, experiment: Comparison) -> None:
    """Refuses an arm that differs from the recipe without a word on the card.

    An arm of the recipe's own class changes what it names. One of another class starts from that class's defaults;
    where both take an argument and the values differ, the comparison would be of something else than it seems.

    Raises:
        UserError: names file, line, arm and argument.
    """
    written = load_recipe(card, experiment.recipe).data
    for name, arm in experiment.arms.items():
        for section in ("model", "data"):
            changed, base = arm.overrides.get(section, {}), written[section]
            if changed.get("class_path", base["class_path"]) == base["class_path"]:
                continue
            ours, theirs = (signature(part["class_path"], card.root) for part in (changed, base))
            if ours is None or theirs is None:
                continue  # whoever builds it will say what is wrong
            said, before = changed.get("init_args", {}), base.get("init_args", {})
            for key in (key for key in ours.arguments if key in theirs.arguments and key not in said):
                now, then = _default(ours, key), _plain(before[key]) if key in before else _default(theirs, key)
                if now != then:
                    where = ("experiments", card.experiments.index(experiment), "arms", name, section, "class_path")
                    place = yaml_lines.load(card.path, card.root).at(where)
                    taken = f"takes {section}.{key} {now!r}, the default of its class, where the recipe has {then!r}"
                    raise UserError(
                        f"{place}: the arm '{name}' of '{experiment.name}' {taken}; say in its init_args which is meant"
                    )


def _default(taken: Signature, key: str) -> Any:
    text = taken.arguments[key].default
    if text is None:
        return None
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _plain(value: Any) -> Any:
    """As YAML would give it: tuples are lists there, and text may stand for a number as 1e-3 does."""
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
