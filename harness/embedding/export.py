"""`papers export`: a trained method as files that others read."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from common.embedding.embedder import Embedder
from common.errors import UserError
from common.experiments.card import Card
from common.paths import as_path
from harness.console import say
from harness.recipes.catalog import importable
from harness.recipes.early import OPTION
from papers.loading import CONFIG, FORMAT, WEIGHTS, load_from, read, tokenizer_owners

SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}


def export(card: Card, *, checkpoint: str, out: str, kind: str = "safetensors") -> list[Path]:
    """Writes the folder `out`.

    Args:
        kind: "safetensors": `model.safetensors` with all weights, `config.json` with class and arguments, and the
            tokenizers, from which `papers.load` builds the method again; and each of its transformers bodies in a
            folder of its own, as `save_pretrained` writes them (`architectures` in its config names the class). "onnx":
            a file for each tower of a fixed shape.

    Returns:
        What stands in it, sorted.

    Raises:
        UserError: the checkpoint is none of this paper, `out` exists or cannot be written, or no tower has a fixed
            shape.
    """
    importable(card.root)
    path = as_path(out, "--out")
    if path.exists():
        raise UserError(f"--out: {path} exists; name another folder, or remove it")
    embedder = load_from(card.folder, checkpoint, OPTION)
    with new_folder(path) as folder:
        if kind == "onnx":
            from harness.embedding.onnx_export import write_onnx

            write_onnx(embedder, folder)
        else:
            trained = read(card.slug, checkpoint, OPTION)
            _write(embedder, folder, trained.arguments)
    return sorted(file for file in path.rglob("*") if file.is_file())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that becomes `path` at the end; after an error there is none of it.

    Raises:
        UserError: it cannot be written.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield part
        part.chmod(0o755)
        part.replace(path)
    except OSError as error:
        raise UserError(f"--out: {path} cannot be written: {error.strerror or error}") from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _write(embedder: Embedder, folder: Path, arguments: dict[str, Any]) -> None:
    method = embedder.method
    # Copies, since tied weights share memory, which the format refuses.
    save_file(
        {key: tensor.detach().clone().contiguous() for key, tensor in method.state_dict().items()}, folder / WEIGHTS
    )
    tokenizers = {}
    for owner, part in tokenizer_owners(method):
        if (tokenizer := _tokenizer(part)) is None:
            continue
        (folder / "tokenizers").mkdir(exist_ok=True)
        tokenizers[owner] = f"tokenizers/{owner or 'method'}.json"
        tokenizer.save(str(folder / tokenizers[owner]))
    bodies = {}
    for name, body in _bodies(method):
        holder: Any = method.get_submodule(name.rpartition(".")[0])
        with _without_bars():
            body.save_pretrained(folder / name)
        tokenizer = _tokenizer(holder) if hasattr(holder, "_tokenizer") else None
        if tokenizer is not None:
            special: dict[str, Any] = {k: v for k, v in SPECIAL.items() if tokenizer.token_to_id(v) is not None}
            special["model_max_length"] = getattr(holder, "positions", None) or holder.length
            if tokenizer.padding:
                special["pad_token"] = tokenizer.padding["pad_token"]
            PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / name)
        bodies[name] = type(body).__name__
    config = {
        "format": FORMAT,
        "version": version("contrastive-papers"),
        "paper": embedder.name,
        "class": f"{type(method).__module__}.{type(method).__qualname__}",
        "arguments": arguments,
        "inputs": embedder.inputs,
        "embeds": embedder.kinds,
        "tokenizers": tokenizers,
        "transformers": bodies,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Nothing of transformers on the console."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _tokenizer(part: Any) -> Tokenizer | None:
    """What a submodule reads texts with; None, and a remark, where its file is not at hand."""
    try:
        return part.tokenizer
    except UserError as error:
        say(f"left out: a tokenizer ({error})")
        return None


def _bodies(method: nn.Module) -> Iterator[tuple[str, PreTrainedModel]]:
    """The outermost models of transformers in a method, with their dotted names."""
    last = None
    for name, part in method.named_modules():
        if isinstance(part, PreTrainedModel) and not (last is not None and name.startswith(f"{last}.")):
            last = name
            yield name, part
