"""Pretrained BERTs by name: their shapes, and where their weights and tokenizers are read from."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn

from common.errors import UserError


class Architecture(NamedTuple):
    """The shape of a BERT; the fields are arguments of `TextEncoder`."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int
    positions: int


ARCHITECTURES = {
    "mini-bert": Architecture(192, 3, 6, 768, 8_192, 128),
    "minilm": Architecture(384, 6, 12, 1_536, 30_522, 512),
    "bert-base-uncased": Architecture(768, 12, 12, 3_072, 30_522, 512),
    "bert-large-uncased": Architecture(1_024, 24, 16, 4_096, 30_522, 512),
}


@dataclass(frozen=True)
class PretrainedFiles:
    """`model.safetensors` and `tokenizer.json` of a named encoder.

    "mini-bert" comes with this repository and "minilm" out of a packaged source; the others are read from a folder.
    """

    name: str
    folder: str | None = None
    """Where the files are; by default the name's own place, or checkpoints/<name>."""

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_buffer(self._read("tokenizer.json"))

    def weights(self) -> dict[str, Tensor]:
        """All tensors of the file, the body's names bare and the others as transformers writes them."""
        found = {}
        for key, tensor in load(self._read("model.safetensors")).items():
            # The oldest published files say gamma and beta for the two vectors of a norm.
            key = key.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
            found[key.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor.float()
        return found

    def _read(self, file: str) -> bytes:
        if self.folder is None and self.name == "minilm":
            # `common` does not depend on `data`; the source is looked up only when it is asked for.
            return import_module("data.sources.minilm").read_minilm(file)[file]
        folder = Path("checkpoints") / self.name
        if self.folder is not None:
            folder = Path(self.folder).expanduser()
        elif self.name == "mini-bert":
            folder = Path(__file__).parents[2] / "data" / "checkpoints" / "mini_bert"
        if not (folder / file).is_file():
            raise UserError(
                f"encoder {self.name}: {folder / file} does not exist; put the published model.safetensors and "
                f"tokenizer.json there (`hf download {self.name} --local-dir {folder}`), or name a folder in weights"
            )
        return (folder / file).read_bytes()


def load_exactly(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Fills `module` from those of `weights` that it names; the others are left.

    Raises:
        UserError: a tensor is missing or has another shape; `name` says whose.
    """
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in weights:
            raise UserError(f"encoder {name}: its model.safetensors lacks {key}")
        if weights[key].shape != tensor.shape:
            raise UserError(
                f"encoder {name}: {key} has shape {tuple(weights[key].shape)} in its model.safetensors; "
                f"the architecture needs {tuple(tensor.shape)}"
            )
    module.load_state_dict({key: weights[key] for key in wanted})
