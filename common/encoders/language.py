"""A small causal language model whose states can be read, and changed, between its layers."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.captioner import ahead, pre_norm_layers


class LanguageModel(nn.Module):
    """A causal decoder in the manner of GPT: of each token it says which comes next.

    Padding may stand anywhere behind the first token of a row: nothing attends to it, and its position is that of the
    token before it.

    Args:
        vocab_size: rows of the token table, which is the output layer too.
        pad: id of the padding.
        length: tokens of a row at most.
        width: d of the states.
        heads: attention heads; they divide `width`.
        layers: how many.

    Raises:
        UserError: a width that the heads do not divide.
    """

    def __init__(self, vocab_size: int, pad: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.pad = pad
        self.table = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(length, width)
        self.layers = pre_norm_layers(nn.TransformerEncoderLayer, layers, width, heads)
        self.norm = nn.LayerNorm(width)
        for embedding in (self.table, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids: Tensor, before: Callable[[int, Tensor], Tensor] | None = None) -> list[Tensor]:
        """The embeddings and the output of each layer, layers + 1 tensors of shape (n, t, d).

        Args:
            ids: int64 (n, t); the first token of a row is no padding.
            before: makes of a layer's number, from 0, and of the states that reach it those that it is given.
        """
        padding, mask = ids == self.pad, ahead(ids.shape[1], ids.device)
        places = ((~padding).cumsum(dim=1) - 1).clamp(min=0)
        states = [self.table(ids) + self.positions(places)]
        for number, layer in enumerate(self.layers):
            given = states[-1] if before is None else before(number, states[-1])
            states.append(layer(given, src_mask=mask, src_key_padding_mask=padding))
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Of the next token, (..., v), from states of the last layer, (..., d)."""
        return F.linear(self.norm(states), self.table.weight)

    def log_likelihood(self, states: Tensor, ids: Tensor) -> Tensor:
        """Of each token but the first given those before it, (n, t - 1), from the last states (n, t, d)."""
        logits = self.logits(states[:, :-1]).transpose(1, 2)
        return -F.cross_entropy(logits, ids[:, 1:], reduction="none")
