"""From what a training left, a checkpoint or an export of it, to the method with its weights."""

import json
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from common.embedding.embedder import Embedder
from common.encoders.vocabulary import Vocabulary
from common.encoders.weights import filled_later
from common.errors import UserError
from common.experiments import yaml_lines
from common.experiments.schema import closest
from common.paths import as_path
from common.training.checkpoint import check_weights, read_checkpoint

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = "contrastive-papers 1"
"""What an export's `config.json` says of itself."""


class Trained(NamedTuple):
    """A training's outcome, as a file has it."""

    path: Path
    class_path: str | None
    """Of the class as it was called then."""
    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    inputs: dict[str, list[int]]
    """See `common.batches.inputs`."""
    tokenizers: dict[str, str]
    """The file of each tokenizer, by the name of the submodule that reads texts with it."""


def load(slug: str, checkpoint: str | Path, *, device: str | torch.device | None = None) -> Embedder:
    """See `papers.load`."""
    folders = {path.parent.name: path.parent for path in sorted(Path(__file__).parent.glob("*/*/paper.yaml"))}
    if slug not in folders:
        raise UserError(f"unknown paper '{slug}'{closest(slug, folders)}; `papers list` shows all")
    embedder = load_from(folders[slug], checkpoint)
    return embedder if device is None else embedder.to(device)


def load_from(folder: Path, checkpoint: str | Path, name: str = "checkpoint") -> Embedder:
    """The trained method of the paper in a folder.

    Args:
        checkpoint: a file of `papers fit`, or a folder of `papers export`.
        name: the option or argument that it was given for.

    Raises:
        UserError: it is neither, damaged, or another paper's.
    """
    trained = read(folder.name, checkpoint, name)
    classes = _classes(folder)
    last = (trained.class_path or next(iter(classes))).rpartition(".")[2]
    cls = next((c for c in classes.values() if last in (c.__name__, vars(c).get("recorded_as"))), None)
    if cls is None:
        other = re.match(r"papers\.\w+\.(\w+)\.", trained.class_path or "")
        hint = f"; load it as '{other[1]}'" if other and other[1] != folder.name else ""
        raise UserError(
            f"{name}: {trained.path} is of {trained.class_path}, not of {folder.name}, which has "
            f"{', '.join(c.__name__ for c in classes.values())}{hint}"
        )
    with filled_later(), torch.random.fork_rng(devices=[]):
        method: Any = _built(cls, trained, name)
    check_weights(trained.weights, trained.path, method, name)
    method.load_state_dict(trained.weights)
    method.inputs = trained.inputs
    _give_tokenizers(method, trained, name)
    return Embedder(method, folder.name, trained.inputs)


def read(slug: str, checkpoint: str | Path, name: str) -> Trained:
    """What a checkpoint or an export holds.

    Raises:
        UserError: it is neither, damaged, or an export of another paper.
    """
    path = as_path(checkpoint, name)
    if path.is_dir():
        return _read_export(slug, path, name)
    content = read_checkpoint(path, name)
    recorded = content.get("hyper_parameters") or {}
    if not isinstance(recorded, dict):
        raise UserError(f"{name}: {path} holds 'hyper_parameters' that are no mapping")
    class_path = recorded.get("_class_path")
    arguments = {str(key): value for key, value in recorded.items() if not str(key).startswith("_")}
    inputs = content.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    return Trained(path, class_path and str(class_path), arguments, content["state_dict"], inputs, {})


def _read_export(slug: str, path: Path, name: str) -> Trained:
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_file():
        raise UserError(
            f"{name}: {path} is a folder without {CONFIG} and {WEIGHTS}; it must be a checkpoint of `papers fit` or a "
            "folder of `papers export`"
        )
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(path / WEIGHTS)
    except (ValueError, SafetensorError, OSError) as error:
        raise UserError(f"{name}: {path} is damaged: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{name}: {path / CONFIG} is not of `papers export` (its format must be '{FORMAT}')")
    if config.get("paper") != slug:
        raise UserError(f"{name}: {path} is an export of {config.get('paper')}, not of {slug}")
    fields = {"class": str, "arguments": dict, "inputs": dict, "tokenizers": dict}
    for key, kind in fields.items():
        if not isinstance(config.get(key), kind):
            raise UserError(f"{name}: {path / CONFIG} is damaged: it has no '{key}'")
    arguments, inputs = config["arguments"], config["inputs"]
    return Trained(path, config["class"], arguments, weights, inputs, config["tokenizers"])


def _classes(folder: Path) -> dict[str, type[L.LightningModule]]:
    """The methods that a paper's recipes train, that of mini.yaml first, and those beside them in the same modules."""
    recipes = sorted(folder.glob("*.yaml"), key=lambda path: (path.name != "mini.yaml", path.name))
    models = [yaml_lines.load(path).data.get("model") for path in recipes if path.name != "paper.yaml"]
    paths = [str(model["class_path"]) for model in models if isinstance(model, dict) and "class_path" in model]
    found = {path: getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in paths}
    for module in [import_module(path.rpartition(".")[0]) for path in paths]:
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, L.LightningModule) and one.__module__ == module.__name__:
                found.setdefault(f"{module.__name__}.{one.__name__}", one)
    return found


def _built(cls: type[L.LightningModule], trained: Trained, name: str) -> L.LightningModule:
    try:
        return cls(**trained.arguments)
    except UserError as error:
        raise UserError(f"{name}: {trained.path}: {error}") from None
    except (TypeError, ValueError) as error:
        gone = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if gone:
            value = trained.arguments.get(gone[1])
            raise UserError(
                f"{name}: {trained.path} was trained with model.{gone[1]} {value!r}, which {cls.__name__} does not take"
            ) from None
        raise UserError(f"{name}: {trained.path}: {cls.__name__} cannot be built: {error}") from None


def tokenizer_owners(method: nn.Module) -> Iterable[tuple[str, Any]]:
    """Who reads texts with a tokenizer from a file: submodules, and vocabularies, by their dotted names."""
    for name, part in method.named_modules():
        if hasattr(part, "_tokenizer"):
            yield name, part
        for key, value in vars(part).items():
            if isinstance(value, Vocabulary):
                yield f"{name}.{key}".lstrip("."), value


def _give_tokenizers(method: nn.Module, trained: Trained, name: str) -> None:
    for owner, part in tokenizer_owners(method):
        if owner not in trained.tokenizers:
            continue
        file = trained.path / trained.tokenizers[owner]
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library's own, of no class that it names
            raise UserError(f"{name}: {file} is no tokenizer, or damaged: {error}") from None
        # Where each of them keeps what it would have read.
        vars(part)["tokenizer" if isinstance(part, Vocabulary) else "_tokenizer"] = tokenizer
