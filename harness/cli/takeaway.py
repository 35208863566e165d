"""`papers embed` and `papers export`: their options, looked at before torch is loaded."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.experiments.card import Card
from common.paths import as_path
from harness.console import shown_path
from harness.files import workplace
from harness.recipes.early import OPTION, check_file
from harness.recipes.options import check_options, parsed, recipe_of, spelled_out


def embed(given: argparse.Namespace, card: Card) -> None:
    """A file of vectors."""
    words = ["--config", given.config, *(["--data", given.data] if given.data else [])]
    words = spelled_out([*words, *given.options])
    check_options(card, words, trains=False)
    data = _data(card, words)
    checkpoint = _checkpoint(given, card)
    from harness.embedding.embed import embed  # loads torch

    options = {key: getattr(given, key) for key in ("split", "column", "batch_size", "normalize", "device")}
    written = embed(card, checkpoint=checkpoint, data=data, out=given.out, **options)
    print(*(shown_path(path) for path in written), sep="\n")


def export(given: argparse.Namespace, card: Card) -> None:
    """A folder with a trained method."""
    checkpoint = _checkpoint(given, card)
    from harness.embedding.export import export  # loads torch

    written = export(card, checkpoint=checkpoint, out=given.out, kind=given.format)
    print(*(shown_path(path) for path in written), sep="\n")


def _checkpoint(given: argparse.Namespace, card: Card) -> str:
    """The path of what --ckpt_path names, which may be a folder here, once the module that it may need is imported."""
    if given.module is not None:
        sys.path.insert(0, str(Path.cwd()))
        try:
            importlib.import_module(given.module)
        except ImportError as error:
            raise UserError(f"--import is '{given.module}', which cannot be imported: {error}") from None
    path = as_path(given.ckpt_path, OPTION)
    if given.ckpt_path == "last":
        from harness.fitting.checkpoint import find_checkpoint

        return str(find_checkpoint("last", workplace(card.root) / "logs" / card.slug))
    if not path.is_dir():
        check_file(given.ckpt_path)
    return str(path)


def _data(card: Card, words: list[str]) -> dict[str, Any]:
    """The `data` section of the recipe with what the options say over it."""
    data = dict(recipe_of(card, words).data.get("data") or {})
    arguments = dict(data.get("init_args") or {})
    for key, value in parsed(words):
        if key in ("data", "data.class_path"):
            if value != data.get("class_path"):
                data, arguments = {"class_path": value}, {}
        elif key.startswith("data.") and value is not None:
            name = key.removeprefix("data.").removeprefix("init_args.")
            try:
                arguments[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise UserError(f"{key} is '{value}', which is no plain value") from None
    return data | {"init_args": arguments}
