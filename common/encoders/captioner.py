"""The parts of a contrastive captioner: attention pooling, and a causal decoder cut into a lower and an upper half."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from common.errors import UserError


def ahead(length: int, device: torch.device) -> Tensor:
    """What a causal decoder may not attend to, bool of shape (length, length)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def pre_norm_layers(kind: Callable[..., nn.Module], count: int, width: int, heads: int) -> nn.ModuleList:
    """Pre-norm layers without dropout; the feed-forward part is four times as wide as the states."""
    if width % heads:
        raise UserError(f"heads is {heads}; it must divide the width, which is {width}")
    options = dict(dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    return nn.ModuleList(kind(width, heads, 4 * width, **options) for _ in range(count))


class NormedAttention(nn.Module):
    """One multi-head attention layer from queries to a sequence, both normalized beforehand, as in open_clip's poolers.

    Args:
        width: d of queries, sequence and what comes out.
        heads: attention heads; they divide `width`.

    Raises:
        UserError: a width that the heads do not divide.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UserError(f"heads is {heads}; it must divide the width, which is {width}")
        self.query_norm = nn.LayerNorm(width)
        self.state_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def attend(self, queries: Tensor, states: Tensor, padding: Tensor | None = None) -> Tensor:
        """What each query finds, (n, q, d).

        Args:
            queries: (n, q, d), or (q, d), the same for all.
            states: (n, t, d).
            padding: which of them nothing attends to, bool (n, t).
        """
        queries, states = self.query_norm(queries).expand(len(states), -1, -1), self.state_norm(states)
        return self.attention(queries, states, states, key_padding_mask=padding, need_weights=False)[0]


class AttentionPooler(NormedAttention):
    """Attention from learnt queries to a sequence: as many vectors as there are queries.

    As in CoCa (Yu et al. 2022, section 3.2).

    Args:
        queries: q, vectors that come out.
        width, heads: as in `NormedAttention`.

    Raises:
        UserError: no query, or a width that the heads do not divide.
    """

    def __init__(self, queries: int, width: int, heads: int) -> None:
        if queries < 1:
            raise UserError(f"queries is {queries}; it must be at least 1")
        drawn = torch.randn(queries, width)
        super().__init__(width, heads)
        self.queries = nn.Parameter(drawn)

    def forward(self, states: Tensor) -> Tensor:
        """(n, t, d) -> (n, q, d)."""
        return self.attend(self.queries, states)


class UnimodalDecoder(nn.Module):
    """The lower half of CoCa's decoder: causal layers that read text alone, and a [CLS] that sums it up.

    [CLS] stands behind the text and its padding. It attends to all words and to no padding, and no word attends to it,
    so the states of the words are the same with and without it.

    Args:
        vocab_size: rows of the token table.
        pad: id of the padding, which stands behind a text.
        length: tokens of a text at most.
        width: d of the states.
        heads: attention heads; they divide `width`.
        layers: how many.
        summary: whether there is a [CLS].

    Raises:
        UserError: a width that the heads do not divide.

    Source: Yu et al. 2022, section 3.2.
    """

    def __init__(
        self, vocab_size: int, pad: int, length: int, width: int, heads: int, layers: int, summary: bool = True
    ) -> None:
        super().__init__()
        self.pad = pad
        self.table = nn.Embedding(vocab_size, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        # Always behind everything: what its position would add is a part of it.
        self.summary = nn.Parameter(torch.empty(width)) if summary else None
        self.summary_norm = nn.LayerNorm(width) if summary else None
        self.layers = pre_norm_layers(nn.TransformerEncoderLayer, layers, width, heads)
        for parameter in (self.table.weight, self.positions, self.summary):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, summarize: bool = True) -> tuple[Tensor, Tensor | None]:
        """Reads token ids (n, t), padded behind.

        Args:
            summarize: whether [CLS], if there is one, is appended.

        Returns:
            The states of the words, (n, t, d), on which the upper half goes on, and that of [CLS], (n, d), or None.
        """
        states, padding = self.table(ids) + self.positions[: ids.shape[1]], ids == self.pad
        summarize = summarize and self.summary is not None
        if summarize:
            states = torch.cat([states, self.summary.expand(len(ids), 1, -1)], dim=1)
            padding = torch.cat([padding, padding.new_zeros(len(ids), 1)], dim=1)
        mask = ahead(states.shape[1], ids.device)
        for layer in self.layers:
            states = layer(states, src_mask=mask, src_key_padding_mask=padding)
        return (states[:, :-1], self.summary_norm(states[:, -1])) if summarize else (states, None)


class MultimodalDecoder(nn.Module):
    """The upper half of CoCa's decoder: causal layers that also attend to a picture, and predict the next word.

    Args:
        vocab_size: of the words it predicts.
        width: d of the states and of the picture's tokens.
        heads: attention heads; they divide `width`.
        layers: how many.

    Raises:
        UserError: a width that the heads do not divide.

    Source: Yu et al. 2022, section 3.2.
    """

    def __init__(self, vocab_size: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.memory_norm = nn.LayerNorm(width)
        self.layers = pre_norm_layers(nn.TransformerDecoderLayer, layers, width, heads)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocab_size, bias=False)

    def forward(self, words: Tensor, memory: Tensor) -> Tensor:
        """States of words (n, t, d) from the lower half and tokens of pictures (n, q, d) to logits (n, t, v)."""
        # Padding stands behind the words, which attend to nothing behind them: it needs no mask of its own.
        states, memory, mask = words, self.memory_norm(memory), ahead(words.shape[1], words.device)
        for layer in self.layers:
            states = layer(states, memory, tgt_mask=mask)
        return self.output(self.norm(states))
