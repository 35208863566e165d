"""A BERT that predicts hidden pieces of texts, and of a text beside its translation: XLM-R, or a small one of ours."""

from typing import Any, Literal

from tokenizers import Tokenizer, processors
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_choice
from common.distributed import sum_over_processes
from common.encoders.pooling import Tokens
from common.encoders.pretrained import ARCHITECTURES, Architecture, PretrainedFiles, load_exactly
from common.encoders.text import MaskedLMHead, TextEncoder
from common.encoders.weights import are_read
from common.errors import UserError
from common.sampling.masking import IGNORED, hide_tokens_by_sample

XLM_R = {
    "xlm-roberta-base": Architecture(768, 12, 12, 3_072, 250_002, 512),
    "xlm-roberta-large": Architecture(1024, 24, 16, 4_096, 250_002, 512),
}
SHAPES = ARCHITECTURES | XLM_R

_ROBERTA = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[UNK]": "<unk>", "[MASK]": "<mask>"}
"""What XLM-R's vocabulary calls the same tokens."""

Texts = list[str] | list[tuple[str, str]]


class MultilingualLM(TextEncoder):
    """A `TextEncoder` with its masked-LM head, of texts or of pairs of texts, without dropout.

    A pair (a, b) becomes [CLS] a [SEP] b [SEP]: two sentences in a row, or a sentence and its translation. The latter
    is translation language modelling (TLM, Conneau and Lample 2019): a hidden piece may be told by what stands in the
    other language.

    Args:
        name: one of `SHAPES`.
        masked: share of the tokens that are predicted, in (0, 1).
        max_length: as in `TextEncoder`, of a pair too.
        weights: folder of its `model.safetensors` and `tokenizer.json`, as in `TextEncoder.named`. They are read at
            once, the head's too; on the meta device not at all.

    Raises:
        UserError: the name is unknown or the share is out of range; a file is missing, or holds another architecture.
    """

    def __init__(self, name: str, masked: float = 0.15, max_length: int = 32, weights: str | None = None) -> None:
        if name not in SHAPES:
            raise UserError(f"encoder is {name!r}; it must be one of {', '.join(SHAPES)}")
        if not 0 < masked < 1:
            raise UserError(f"model.masked is {masked}; it must be between 0 and 1")
        files = PretrainedFiles(name, weights)
        limits: dict[str, Any] = dict(dropout=0.0, max_length=max_length, tokenizer=lambda: framed(files.tokenizer()))
        super().__init__(**SHAPES[name]._asdict(), **limits)
        self.masked = masked
        self.head = MaskedLMHead(self.width, len(self.table))
        if are_read(self.table):
            self._load(files.weights(), name)

    @property
    def table(self) -> Tensor:
        """The token table, shape (v, d), which is the decoder too."""
        return self.body.embeddings.word_embeddings.weight

    def special_id(self, name: str) -> int:
        found = self.tokenizer.token_to_id(name)
        return self.tokenizer.token_to_id(_ROBERTA[name]) if found is None else found

    def hide(self, texts: Texts, ids: Tensor, *key: int) -> tuple[Tokens, Tensor]:
        """The tokens with some hidden, and the target of each; `ids` and `key` as in `hide_tokens_by_sample`."""
        return hide_tokens_by_sample(self.tokenize(texts), self.masked, self, ids, *key)

    def masked_lm(self, texts: Texts, ids: Tensor, *key: int) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of the hidden tokens of all processes, 0-d, and how many these are, at least 1."""
        visible, targets = self.hide(texts, ids, *key)
        asked = targets != IGNORED
        logits = self.head(self.hidden_states(visible)[-1][asked], self.table)
        total = F.cross_entropy(logits, targets[asked], reduction="sum")
        count = sum_over_processes(asked.sum().to(total)).clamp(min=1)
        return sum_over_processes(total) / count, count

    def embed_layer(self, texts: list[str], layer: int) -> Tensor:
        """The mean state of each text behind so many layers, (n, d); texts are read as far as there are positions."""
        tokens = self.tokenize(texts, self.positions)
        return mean_state(self.hidden_states(tokens)[layer], tokens.mask)

    def _load(self, found: dict[str, Tensor], name: str) -> None:
        if name not in XLM_R:
            load_exactly(self.body, found, name)
            self.head.load(found, name)
            return
        named = {}
        for key, tensor in found.items():
            key = key.removeprefix("roberta.").replace("lm_head.layer_norm", "lm_head.norm")
            named[key] = _of_bert(key, tensor)
        load_exactly(self.body, named, name)
        load_exactly(self.head, {key.removeprefix("lm_head."): tensor for key, tensor in named.items()}, name)
        # The row of padding has no gradient, and an XLM-R has its first token where a BERT has padding.
        self.body.embeddings.word_embeddings.padding_idx = self.special_id("[PAD]")
        for part in (*self.body.modules(), self.head.norm):
            if isinstance(part, nn.LayerNorm):
                part.eps = 1e-5


def framed(tokenizer: Tokenizer) -> Tokenizer:
    """With the first token before a text or a pair, and one separator behind each text."""
    names = ("[CLS]", "[SEP]")
    first, end = (name if tokenizer.token_to_id(name) is not None else _ROBERTA[name] for name in names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {end}",
        pair=f"{first} $A {end} $B {end}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, end)],
    )
    return tokenizer


def _of_bert(name: str, tensor: Tensor) -> Tensor:
    """Two positions before the first are for padding in RoBERTa, and its only type of token is the first of a BERT."""
    if name == "embeddings.position_embeddings.weight":
        return tensor[2:]
    if name == "embeddings.token_type_embeddings.weight":
        return tensor.expand(2, -1) if len(tensor) == 1 else tensor
    return tensor


Pooled = Literal["cls", "mean"]


class EverySecondLayer(MultilingualLM):
    """The 2nd, 4th, ... layer of a multilingual BERT without its head; the first token's state stands for a text.

    Args:
        name, max_length, weights: as in `MultilingualLM`.
        layers: how many there are to be, at most half of them.

    Raises:
        UserError: there are not as many layers.
    """

    def __init__(self, name: str, layers: int, max_length: int = 32, weights: str | None = None) -> None:
        super().__init__(name, max_length=max_length, weights=weights)
        del self.head
        found = list(self.body.encoder.layer)[1::2]
        if not 1 <= layers <= len(found):
            raise UserError(f"layers is {layers}; half of {name} are {len(found)}")
        self.layers = layers
        self.body.encoder.layer = nn.ModuleList(found[:layers])


class MiddleState(nn.Module):
    """An encoder with a linear map, of a state of a middle layer, by which texts are compared.

    Args:
        projection: the map.
        layer: whose output is mapped, from 1.
        pooling: "cls" maps the first token's state, "mean" that of all tokens.
    """

    def __init__(self, encoder: TextEncoder, projection: nn.Linear, layer: int, pooling: Pooled) -> None:
        super().__init__()
        check_choice("model.pooling", pooling, Pooled)
        self.encoder, self.projection, self.layer, self.pooling = encoder, projection, layer, pooling

    def forward(self, tokens: Tokens) -> Tensor:
        """The vector of each text, (n, d)."""
        states = self.encoder.hidden_states(tokens)[self.layer]
        return self.projection(states[:, 0] if self.pooling == "cls" else mean_state(states, tokens.mask))


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of the states of each text's tokens, (n, d), from (n, t, d) and the mask (n, t)."""
    weights = mask.unsqueeze(-1).to(states)
    return (states * weights).sum(1) / weights.sum(1)
