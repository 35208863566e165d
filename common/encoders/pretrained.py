"""Pretrained BERTs by name: their shapes, and where their weights and tokenizers are read from."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn

from common.encoders.weights import read_file
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
    "slot-bert": Architecture(128, 2, 4, 256, 830, 32),
    "distilbert-base-uncased": Architecture(768, 6, 12, 3_072, 30_522, 512),
    "bert-base-uncased": Architecture(768, 12, 12, 3_072, 30_522, 512),
    "bert-large-uncased": Architecture(1_024, 24, 16, 4_096, 30_522, 512),
    "bge-large-zh-v1.5": Architecture(1_024, 24, 16, 4_096, 21_128, 512),
}


@dataclass(frozen=True)
class PretrainedFiles:
    """`model.safetensors` and `tokenizer.json` of a named encoder.

    "mini-bert" and "slot-bert" come with this repository and "minilm" out of a packaged source; the others are read
    from a folder.
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
            found[today(key.removeprefix("bert."))] = tensor.float()
        return _as_bert(found) if any(key.startswith("distilbert.") for key in found) else found

    def _read(self, file: str) -> bytes:
        return read_file(self.name, file, self.folder)


def today(key: str) -> str:
    """A weight's name: the oldest published files say gamma and beta for the two vectors of a norm."""
    return key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


# DistilBERT computes what a BERT of half the layers does, under other names (Sanh et al. 2019).
_DISTILBERT = {
    "distilbert.": "",
    "transformer.layer": "encoder.layer",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector": "cls.predictions",
}


def _as_bert(distilbert: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a DistilBERT under a BERT's names; its token types, which it lacks, add nothing."""
    found = {}
    for key, tensor in distilbert.items():
        for theirs, ours in _DISTILBERT.items():
            key = key.replace(theirs, ours)
        found[key] = tensor
    width = found["embeddings.word_embeddings.weight"].shape[1]
    return {**found, "embeddings.token_type_embeddings.weight": torch.zeros(2, width)}


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
