"""The text encoder: a BERT with its tokenizer inside, so that methods pass sentences and get vectors."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from common.encoders.names import OwnEncoder, check_encoder
from common.encoders.pooling import TokenPooling, Tokens
from common.encoders.pretrained import ARCHITECTURES, PretrainedFiles, load_exactly
from common.encoders.weights import are_read
from common.errors import UserError

Pooling = Literal["cls", "mean", "first_last"]


class TextEncoder(TokenPooling):
    """A BERT without its pooler: sentences in, one vector a sentence out.

    In training mode dropout acts on the embeddings, on both outputs of every layer and on the attention weights; the
    fused attention kernel is given the same probability.

    Args:
        hidden_size: width d of the token states.
        layers: transformer layers.
        heads: attention heads; they divide `hidden_size`.
        intermediate_size: width of the feed-forward layers.
        vocab_size: rows of the token table.
        positions: longest sequence the position table allows.
        dropout: probability for hidden states and attention weights alike.
        pooling: "cls" is the last state of the first token, "mean" the mean of the last states, "first_last" the mean
            of the first layer's and the last layer's means (after Su et al. 2021).
        max_length: tokens at which a sentence is cut in training, with the two special ones.
        tokenizer: turns text into ids; called once, when it is first needed.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        heads: int,
        intermediate_size: int,
        vocab_size: int,
        positions: int = 512,
        dropout: float = 0.1,
        pooling: Pooling = "cls",
        max_length: int = 32,
        tokenizer: Callable[[], Tokenizer] | None = None,
    ) -> None:
        if hidden_size % heads:
            raise UserError(f"heads is {heads}; it must divide hidden_size, which is {hidden_size}")
        if not 3 <= max_length <= positions:
            raise UserError(f"max_length is {max_length}; it must be from 3 to {positions}, the encoder's positions")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}; it must be at least 0 and below 1")
        if pooling not in ("cls", "mean", "first_last"):
            raise UserError(f"pooling is {pooling!r}; it must be 'cls', 'mean' or 'first_last'")
        config = BertConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=positions,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attn_implementation="sdpa",
        )
        super().__init__(BertModel(config, add_pooling_layer=False), hidden_size, pooling, max_length)
        self.layers = layers
        self._read_tokenizer = tokenizer
        self._tokenizer: Tokenizer | None = None

    @classmethod
    def named(
        cls,
        name: str,
        pooling: Pooling = "cls",
        dropout: float | None = None,
        max_length: int = 32,
        layers: int | None = None,
        weights: str | None = None,
        pretrained: bool = True,
    ) -> "TextEncoder":
        """A published encoder, or one of this repository.

        Args:
            name: one of `ARCHITECTURES`.
            pooling: as in the constructor.
            dropout: replaces the published 0.1 in hidden states and attention.
            max_length: as in the constructor.
            layers: keeps only the lowest so many layers.
            weights: folder with `model.safetensors` and `tokenizer.json`; by default where the name's own files are.
            pretrained: loads the weights. On the meta device, which holds none, they are never read.

        Raises:
            UserError: unknown name, or the folder lacks a file or holds another architecture.
        """
        if name not in ARCHITECTURES:
            raise UserError(f"encoder is {name!r}; it must be one of {', '.join(ARCHITECTURES)}")
        shape = ARCHITECTURES[name]
        if layers is not None and not 1 <= layers <= shape.layers:
            raise UserError(f"layers is {layers}; {name} has {shape.layers}")
        shape = shape._replace(layers=layers or shape.layers)
        files = PretrainedFiles(name, weights)
        rate = 0.1 if dropout is None else dropout
        encoder = cls(
            **shape._asdict(), dropout=rate, pooling=pooling, max_length=max_length, tokenizer=files.tokenizer
        )
        if pretrained and are_read(encoder.body.embeddings.word_embeddings.weight):
            load_exactly(encoder.body, files.weights(), name)
        return encoder

    @property
    def positions(self) -> int:
        return self.body.config.max_position_embeddings

    @property
    def vocab_size(self) -> int:
        return self.body.config.vocab_size

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read at the first use: an encoder on the meta device needs none."""
        if self._tokenizer is None:
            if self._read_tokenizer is None:
                raise UserError("this TextEncoder has no tokenizer; pass one as the argument tokenizer")
            self._tokenizer = self._read_tokenizer()
        return self._tokenizer

    def special_id(self, name: str) -> int:
        """The id of a token that stands for no text, such as "[PAD]"."""
        return self.tokenizer.token_to_id(name)

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.special_id("[MASK]")

    @property
    def special_ids(self) -> Tensor:
        """The ids of the tokens that stand for no text, shape (5,)."""
        names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        return torch.tensor([self.special_id(name) for name in names], device=self.body.device)

    def tokenize(self, texts: list[str], max_length: int | None = None) -> Tokens:
        tokenizer = self.tokenizer
        # Set at every call: a tokenizer may be shared by encoders with other lengths.
        tokenizer.enable_truncation(max_length or self.max_length)
        tokenizer.enable_padding(pad_id=self.special_id("[PAD]"), pad_token="[PAD]")
        encoded = tokenizer.encode_batch(texts)
        ids = torch.tensor([line.ids for line in encoded], device=self.body.device)
        return Tokens(ids, torch.tensor([line.attention_mask for line in encoded], device=self.body.device))


TextEncoderName = OwnEncoder | str
"""One of `ARCHITECTURES`, or an encoder of one's own: `OwnEncoder`, or its name alone."""


def text_encoder(
    name: TextEncoderName,
    pooling: Pooling = "cls",
    dropout: float | None = None,
    max_length: int = 32,
    layers: int | None = None,
    weights: str | None = None,
) -> nn.Module:
    """Builds the encoder that a recipe names: of `width`, from texts to vectors, with gradient, or by `embed` without.

    Args:
        name: of a `TextEncoder`, or of an encoder of one's own.
        pooling, dropout, max_length, layers, weights: as in `TextEncoder.named`. One's own encoder has its own pooling
            where its files name one, all its layers, and its weights where its name says.

    Raises:
        UserError: an unknown name or a file that is missing; layers or weights for an encoder of one's own.
    """
    check_encoder("encoder", name, ARCHITECTURES)
    if isinstance(name, str) and name in ARCHITECTURES:
        return TextEncoder.named(name, pooling, dropout, max_length, layers, weights)
    from common.encoders.own import own_text_encoder

    for key, value in {"layers": layers, "weights": weights}.items():
        if value is not None:
            raise UserError(f"model.{key} is {value!r}; an encoder of your own does not take it")
    return own_text_encoder(name, pooling, dropout, max_length)


class FrozenTokenStates(nn.Module):
    """The last states of all tokens of a text, special ones included, under an encoder that is never trained.

    A text passes the encoder once and is remembered: where captions come again each epoch, the encoder costs nothing
    from the second on. The states wait in main memory, 4 t d bytes a text.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, TokenPooling):
            raise UserError(f"{type(encoder).__name__} makes one vector a text; the states of all tokens are needed")
        self.encoder = encoder.requires_grad_(False).eval()
        self._known: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "FrozenTokenStates":
        """Stays in eval mode: dropout in a frozen encoder would only blur what is remembered."""
        return super().train(False)

    def forget(self) -> None:
        """Gives back the memory of what passed so far."""
        self._known.clear()

    def forward(self, texts: list[str]) -> list[Tensor]:
        """The states of each text, a tensor of shape (t_i, d) on the encoder's device."""
        new = sorted({text for text in texts if text not in self._known}, key=len)
        # Not inference mode, in which evaluation may call this: what is remembered takes part in training later.
        with torch.inference_mode(False), torch.no_grad():
            for start in range(0, len(new), 64):
                batch = new[start : start + 64]
                tokens = self.encoder.tokenize(batch, self.encoder.positions)
                states = self.encoder.hidden_states(tokens)[-1].cpu()
                for text, rows, length in zip(batch, states, tokens.mask.sum(dim=1).tolist(), strict=True):
                    self._known[text] = rows[:length].clone()
        return [self._known[text].to(self.encoder.body.device) for text in texts]


class MaskedLMHead(nn.Module):
    """Predicts a token from its state: dense, GELU, norm, and the token table as the decoder, with a bias of its own.

    Args:
        width: width d of the token states and of the table.
        vocab_size: rows v of the table.
    """

    _PUBLISHED: ClassVar = {
        "dense.weight": "cls.predictions.transform.dense.weight",
        "dense.bias": "cls.predictions.transform.dense.bias",
        "norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "bias": "cls.predictions.bias",
    }

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """Logits of shape (m, v) from states of shape (m, d) and the table of shape (v, d)."""
        return F.linear(self.norm(F.gelu(self.dense(states))), table, self.bias)

    def load(self, weights: dict[str, Tensor], name: str) -> None:
        """Takes the head out of the weights of a masked language model in transformers' layout."""
        ours = {theirs: key for key, theirs in self._PUBLISHED.items()}
        load_exactly(self, {ours.get(key, key): tensor for key, tensor in weights.items()}, name)

    def published(self) -> dict[str, Tensor]:
        """The head's tensors under the names of transformers' layout, which `load` reads."""
        return {self._PUBLISHED[key]: tensor for key, tensor in self.state_dict().items()}
