"""Towers of a fixed shape as ONNX, each compared with what torch computes."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from common.embedding.embedder import Embedder
from common.encoders.image import SmallResNet
from common.encoders.text_tower import ClipTextTower, TextTower
from common.errors import UserError
from common.evaluation.embed import evaluating

TOLERANCE = 1e-4
"""Of the largest difference between torch and ONNX Runtime, in units of the vectors' own largest number, at least 1."""
BATCH = 4
MOST = 65_536
"""Inputs in a batch at most."""


class Tower(NamedTuple):
    """What becomes a file."""

    kind: str
    module: nn.Module
    example: Tensor
    input: str
    tokenizer: Tokenizer | None = None


class _Function(nn.Module):
    """A method's `embed_*` as the forward of a module."""

    def __init__(self, method: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.method = method
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def write_onnx(embedder: Embedder, folder: Path) -> None:
    """Writes `image.onnx` (uint8 pixels in) and `text.onnx` (token ids in), and beside the latter `tokenizer.json`.

    Raises:
        UserError: the libraries are not installed, no tower has a fixed shape, or a file gives other vectors.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(library)
        except ImportError as error:
            raise UserError(
                f"--format onnx needs {error.name or library}, which is not installed: pip install "
                "'contrastive-papers[onnx]'"
            ) from None
    towers = list(fixed_towers(embedder))
    if not towers:
        told = ", ".join(embedder.kinds) or "nothing"
        raise UserError(
            f"{embedder.name} has no tower of a fixed shape for ONNX: it embeds {told}, and only pictures of the size "
            "that was trained on and texts of a fixed number of tokens can be exported; --format safetensors takes all"
        )
    for tower in towers:
        path = folder / f"{tower.kind}.onnx"
        _export(tower, path)
        if tower.tokenizer is not None:
            tower.tokenizer.save(str(folder / "tokenizer.json"))
        difference = deviation(tower, path)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{tower.kind}.onnx gives vectors that differ from torch's by {difference:.2g}, more than {TOLERANCE}; "
                "it is not written"
            )


def fixed_towers(embedder: Embedder) -> Iterator[Tower]:
    """Those that take pictures of the size that was trained on, or texts of a fixed number of tokens."""
    method: Any = embedder.method
    shape = embedder.inputs.get("image", [])
    if "image" in embedder.kinds and len(shape) == 3:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (BATCH, *shape), generator=generator, dtype=torch.uint8)
        yield Tower("image", _Function(method, method.embed_image), pixels, "pixels")
    towers = [part for part in method.modules() if isinstance(part, TextTower | ClipTextTower)]
    if "text" in embedder.kinds and len(towers) == 1:
        tower: Any = towers[0]

        def of_ids(ids: Tensor) -> Tensor:
            tower.tokenize = lambda texts: ids  # what `embed_text` does with them stays
            try:
                return method.embed_text([""])  # one, since to count the ids would fix their number
            finally:
                del tower.tokenize

        ids = torch.arange(BATCH * tower.length).view(BATCH, -1) % (tower.vocabulary.size - 1)
        ids[:, -1] = tower.tokenizer.token_to_id(tower.vocabulary.end)
        yield Tower("text", _Function(method, of_ids), ids, "ids", tower.tokenizer)


def _export(tower: Tower, path: Path) -> None:
    options: dict[str, Any] = {"input_names": [tower.input], "output_names": ["vectors"], "external_data": False}
    try:
        with warnings.catch_warnings(), _in_one_piece(tower.module), evaluating(tower.module), _without_remarks():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                tower.module,
                (tower.example,),
                str(path),
                dynamo=True,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=MOST)},),
                **options,
            )
    except Exception as error:
        origin: BaseException = error  # around it the exporter wraps advice of many lines
        while origin.__cause__ is not None:
            origin = origin.__cause__
        lines = str(origin).strip().splitlines() or [type(origin).__name__]
        raise UserError(f"{tower.kind}.onnx cannot be made of this tower: {lines[0][:200]}") from None


@contextlib.contextmanager
def _in_one_piece(module: nn.Module) -> Iterator[None]:
    """A network that goes through a batch in pieces goes through it at once: how many there are would be fixed."""
    parts: list[Any] = [part for part in module.modules() if isinstance(part, SmallResNet)]
    for part in parts:
        part.PIECE = 1 << 40
    try:
        yield
    finally:
        for part in parts:
            del part.PIECE


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """The exporter tells of what it tries at length; what it fails at is in its exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def deviation(tower: Tower, path: Path) -> float:
    """The largest difference between torch and ONNX Runtime, for batches of two sizes; see `TOLERANCE`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in (tower.example, tower.example[:1]):
        with evaluating(tower.module):
            wanted = tower.module(batch).float().numpy()
        try:
            (found,) = session.run(None, {tower.input: batch.numpy()})
        except Exception as error:  # the library's own, of many kinds
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{tower.kind}.onnx does not run on {len(batch)} inputs: {reason[:200]}") from None
        largest = max(largest, float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())))
    return largest
