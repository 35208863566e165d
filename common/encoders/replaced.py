"""Replaced tokens (Clark et al. 2020): a frozen generator puts them in, a discriminator tells them from the others."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.encoders.pooling import Tokens
from common.encoders.pretrained import PretrainedFiles
from common.encoders.text import MaskedLMHead, TextEncoder
from common.encoders.weights import are_read
from common.errors import UserError


class Drawn(NamedTuple):
    """Where a generator writes, and what decides on its tokens."""

    where: Tensor
    """True at the tokens that are written anew, (n, t)."""
    draws: Tensor
    """Uniform in [0, 1), (n, t): the token is the first up to which the generator's probabilities exceed it."""


class Edited(NamedTuple):
    """Texts of which a generator has written some tokens anew."""

    tokens: Tokens
    replaced: Tensor
    """1 where a token is another than in the original, 0 elsewhere and at padding, int64, (n, t)."""


class FrozenGenerator(nn.Module):
    """A masked language model that is never trained and fills in what is hidden of a text.

    Its dropout is active in training mode, as that of any part of a module is: the same hidden text may be filled in
    one way or another.

    Args:
        name: of the encoder, one of `ARCHITECTURES`, whose file holds a masked-LM head as well.
        weights: folder with the encoder's files, where they are not the repository's own.
        dropout: replaces the encoder's own 0.1.
        max_length: tokens of the longest text.
    """

    def __init__(
        self, name: str, weights: str | None = None, dropout: float | None = None, max_length: int = 32
    ) -> None:
        super().__init__()
        self.encoder = TextEncoder.named(name, dropout=dropout, max_length=max_length, weights=weights)
        self.head = MaskedLMHead(self.encoder.width, self.table.shape[0])
        if are_read(self.table):
            self.head.load(PretrainedFiles(name, weights).weights(), name)
        self.requires_grad_(False)

    @property
    def table(self) -> Tensor:
        """The token table, shape (v, d)."""
        return self.encoder.body.embeddings.word_embeddings.weight

    @torch.no_grad()
    def forward(self, original: Tokens, visible: Tokens, drawn: Drawn | None = None) -> Edited:
        """Writes tokens anew by what is visible: all but the first, with the likeliest, or as `drawn` says.

        Args:
            original: what the tokens are compared with afterwards, (n, t).
            visible: the same with some tokens hidden, as `hide_tokens` gives them.
        """
        logits = self.head(self.encoder.hidden_states(visible)[-1], self.table)
        if drawn is None:
            # As DiffCSE is released, tokens that are not hidden included.
            ids = torch.cat([original.ids[:, :1], logits[:, 1:].argmax(dim=-1)], dim=1)
        else:
            below = logits[drawn.where].softmax(dim=-1).cumsum(dim=-1)
            rank = torch.searchsorted(below, drawn.draws[drawn.where][:, None] * below[:, -1:], right=True)[:, 0]
            ids = original.ids.masked_scatter(drawn.where, rank)
        ids = ids * original.mask
        return Edited(Tokens(ids, original.mask), (ids != original.ids).long() * original.mask)


class ConditionalDiscriminator(nn.Module):
    """Tells for each token of an edited text whether it was replaced, given a vector of the original text.

    The vector takes the place of the first token behind the embedding layer, its norm and its dropout (Chuang et al.
    2022, section 3; their modeling_bert.py).

    Args:
        encoder: trained along; no layer is shared with what makes the vectors, which are as wide as its states.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, 2)

    def forward(self, tokens: Tokens, condition: Tensor) -> Tensor:
        """Logits of "as it was" and "replaced", (n, t, 2).

        Args:
            tokens: of the edited texts, (n, t).
            condition: vectors of the originals, (n, d); gradients flow to them.

        Raises:
            UserError: the vectors are not one a text, as wide as the states.
        """
        wanted = (len(tokens.ids), self.encoder.width)
        if tuple(condition.shape) != wanted:
            raise UserError(f"condition {tuple(condition.shape)}: expected {wanted}, a vector a text")

        def put_first(module: nn.Module, inputs: tuple, embedded: Tensor) -> Tensor:
            return torch.cat([condition[:, None].to(embedded.dtype), embedded[:, 1:]], dim=1)

        with self.encoder.body.embeddings.register_forward_hook(put_first):
            states = self.encoder.hidden_states(tokens)
        return self.head(states[-1])
