"""A BERT over pieces of all languages: small with a vocabulary learnt from a benchmark's texts, or XLM-R's."""

from typing import Any, Literal

import torch
from safetensors.torch import load
from tokenizers import Tokenizer, processors
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_choice
from common.distributed import sum_over_processes
from common.encoders.pooling import Tokens
from common.encoders.pretrained import load_exactly
from common.encoders.static import ppmi_svd
from common.encoders.text import MaskedLMHead, TextEncoder
from common.encoders.vocabulary import learn_pieces
from common.encoders.weights import are_read, read_file
from common.errors import UserError
from common.sampling.masking import IGNORED, hide_tokens_by_sample

SPECIAL = ("[CLS]", "[SEP]", "[MASK]")

SCALE = 0.1
"""Above that of the positions, 0.02, so that these do not drown what is counted."""

_XLM_R = "xlm-roberta-base"
_ROBERTA = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[UNK]": "<unk>", "[MASK]": "<mask>"}
"""What XLM-R's vocabulary calls the same tokens."""


class MultilingualEncoder(TextEncoder):
    """A `TextEncoder` over byte-pair pieces of all languages; pairs of texts may be tokenized like texts.

    A pair (a, b) becomes [CLS] a [SEP] b [SEP]: two sentences in a row, or a sentence and its translation.

    Args:
        weights: folder with the `tokenizer.json` of an XLM-R, and its `model.safetensors` for `MultilingualLM`; without
            one the vocabulary is learnt by `learn`, and `state` is to go into checkpoints.
        shape: the other arguments of `TextEncoder`.
    """

    def __init__(self, weights: str | None = None, **shape: Any) -> None:
        super().__init__(**shape, tokenizer=self._read)
        self.weights = weights

    def _read(self) -> Tokenizer:
        if self.weights is None:
            raise UserError("this encoder has no vocabulary yet; it is learnt when a fit begins")
        return self.framed(Tokenizer.from_buffer(read_file(_XLM_R, "tokenizer.json", self.weights)))

    def learn(self, texts: list[str]) -> None:
        """Learns the pieces of the texts, as many as the table has rows."""
        self._tokenizer = self.framed(learn_pieces(texts, SPECIAL, self.body.config.vocab_size, kind="bpe"))

    def learn_translations(self, translations: list[tuple[str, ...]], counted: int) -> None:
        """Learns the pieces of translations, each in all languages; every `counted`-th is counted, of 0 none."""
        self.learn([text for texts in translations for text in texts])
        if counted:
            self.count([" ".join(texts) for texts in translations[::counted]])

    @torch.no_grad()
    def count(self, texts: list[str]) -> None:
        """Sets the rows of its pieces to how they come together in the texts, see `ppmi_svd`.

        Where a text holds translations, pieces of one meaning get vectors that are near each other. Rows are brought to
        one length, with a root mean square of `SCALE`.
        """
        table = self.body.embeddings.word_embeddings.weight
        lines = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        words = [str(row) for row in range(len(table))]
        rows = ppmi_svd([" ".join(map(str, line.ids)) for line in lines], words, table.shape[1]).to(table)
        found = rows.norm(dim=1) > 0
        rows = rows - rows[found].mean(dim=0)
        table[found] = SCALE * table.shape[1] ** 0.5 * F.normalize(rows[found], dim=1)

    def framed(self, tokenizer: Tokenizer) -> Tokenizer:
        """With the first token before a text or a pair, and one separator behind each text.

        Raises:
            UserError: there are more pieces than rows of the table.
        """
        if (size := tokenizer.get_vocab_size()) > (rows := self.body.config.vocab_size):
            raise UserError(f"model.vocab_size is {rows}; the vocabulary has {size} tokens")
        names = ("[CLS]", "[SEP]")
        first, end = (name if tokenizer.token_to_id(name) is not None else _ROBERTA[name] for name in names)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {end}",
            pair=f"{first} $A {end} $B {end}",
            special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, end)],
        )
        return tokenizer

    def special_id(self, name: str) -> int:
        found = self.tokenizer.token_to_id(name)
        return self.tokenizer.token_to_id(_ROBERTA[name]) if found is None else found

    @property
    def state(self) -> str:
        """The tokenizer as JSON."""
        return self.tokenizer.to_str()

    @state.setter
    def state(self, state: str) -> None:
        self._tokenizer = self.framed(Tokenizer.from_str(state))


Texts = list[str] | list[tuple[str, str]]


class MultilingualLM(MultilingualEncoder):
    """A `MultilingualEncoder` that predicts masked pieces: of texts, or of a text beside its translation.

    The second is translation language modelling (TLM, Conneau and Lample 2019): a hidden piece may be told by what
    stands in the other language.

    Args:
        masked: share of the tokens that are predicted, in (0, 1).
        arguments: those of `MultilingualEncoder`. Weights of an XLM-R are read at once, the head's too.

    Raises:
        UserError: the share is out of range; a file is missing, or holds another architecture.
    """

    def __init__(self, masked: float = 0.15, **arguments: Any) -> None:
        super().__init__(**arguments)
        if not 0 < masked < 1:
            raise UserError(f"model.masked is {masked}; it must be between 0 and 1")
        self.masked = masked
        self.head = MaskedLMHead(self.width, self.body.config.vocab_size)
        # On the meta device there is nothing to fill.
        if self.weights is not None and are_read(self.table):
            self._load()

    @property
    def table(self) -> Tensor:
        """The token table, shape (v, d), which is the decoder too."""
        return self.body.embeddings.word_embeddings.weight

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

    def _load(self) -> None:
        found = {}
        for key, tensor in load(read_file(_XLM_R, "model.safetensors", self.weights)).items():
            name = key.removeprefix("roberta.").replace("lm_head.layer_norm", "lm_head.norm")
            found[name] = _of_bert(name, tensor.float())
        load_exactly(self.body, found, _XLM_R)
        load_exactly(self.head, {name.removeprefix("lm_head."): tensor for name, tensor in found.items()}, _XLM_R)
        # The row of padding has no gradient; an XLM-R has another token in a BERT's place for it.
        self.body.embeddings.word_embeddings.padding_idx = self.special_id("[PAD]")
        for part in (*self.body.modules(), self.head.norm):
            if isinstance(part, nn.LayerNorm):
                part.eps = 1e-5


def _of_bert(name: str, tensor: Tensor) -> Tensor:
    """Two positions before the first are for padding in RoBERTa, and its only type of token is the first of a BERT."""
    if name == "embeddings.position_embeddings.weight":
        return tensor[2:]
    if name == "embeddings.token_type_embeddings.weight":
        return tensor.expand(2, -1) if len(tensor) == 1 else tensor
    return tensor


Pooled = Literal["cls", "mean"]


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
