"""`papers schema`: every field of paper.yaml and of the recipes, from the docstrings of what reads them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from common.experiments import card
from common.experiments.card import LOOKS

SHOWN = (
    *("Card", "Parameters", "Published", "Processes"),
    *("Comparison", "Tuning", "Claim", "Property", "Curve", "Line", "Plane"),
)
HEADS = {
    "Card": "paper.yaml",
    "Parameters": "parameters",
    "Published": "each entry of published",
    "Processes": "processes",
    "Comparison": "each entry of experiments with kind: compare",
    "Tuning": "tuning of a comparison",
    "Claim": "each entry of the claims of a comparison",
    "Property": "each entry of experiments with kind: property",
    "Curve": "each entry of the curves of a comparison or a property",
    "Line": "each entry of the lines of a curve",
    "Plane": "each entry of the planes of a comparison",
}
ARMS = """\
each entry of the arms of a comparison, by its name
  label       its name in tables and figures (default: the name)
  model       what it changes in the recipe's model: init_args, or another class_path with the arguments that both take
  data        the same for data
  trainer     the same for the trainer, as in {max_steps: 0} for a network as it starts"""
RECIPE = """\
mini.yaml, full.yaml and every other recipe beside the card
  seed_everything   fixes the initial weights of `papers fit` (default 0); the runner sets that of a comparison
  budget_s          CPU seconds that a run should take; `papers verify` compares it with the records
  model             class_path: package.module.Class, and init_args: its arguments
  data              the same for a benchmark
  trainer           arguments of Lightning's Trainer, as in max_steps
an encoder          where a model names one: that name, timm:NAME, transformers:FOLDER or package.module.Class, or a
                    mapping with such a name and, as in common/encoders/names.py, how it is to be used
`papers fit SLUG --help` lists the arguments of a paper's model and data, with kind, default and meaning."""


def schema() -> Iterator[str]:
    """The page, line by line."""
    tree = ast.parse(Path(card.__file__).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name in SHOWN:
        yield HEADS[name]
        yield from _fields(classes[name])
        yield ""
        if name == "Comparison":
            yield ARMS
            yield ""
    yield RECIPE
    first, second = LOOKS
    yield f"A comparison is run with {first} seeds and, if its primary claim is undecided, {second}."


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """A class's fields: name, kind, default, and the docstring below each."""
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or "from_folder" in ast.unparse(field):
            continue
        default = "" if field.value is None else f", default {_default(field.value)}"
        about = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            about = ": " + " ".join(str(after.value.value).split())
        text = f"{ast.unparse(field.target)} ({_kind(ast.unparse(field.annotation))}{default}){about}"
        yield fill(text, 100, initial_indent="  ", subsequent_indent="      ")


def _kind(annotation: str) -> str:
    if annotation.startswith("Literal["):
        return annotation[len("Literal[") : -1].replace("'", "").replace(", ", " or ")
    words = {
        "tuple[": "list of ",
        ", ...]": "",
        "dict[str, Any]": "mapping",
        "dict[str, list of Any]": "mapping of lists",
        "dict[str, Arm]": "mapping of arms",
        " | None": " or null",
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "|": "or",
    }
    for code, plain in words.items():
        annotation = annotation.replace(code, plain)
    return annotation


def _default(value: ast.expr) -> str:
    text = ast.unparse(value)
    plain = {"None": "null", "()": "none", "field(default_factory=dict)": "none", "True": "true", "False": "false"}
    return plain.get(text, text)
