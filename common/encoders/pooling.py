"""What text encoders share: sentences as numbers, and one vector of a transformer's states for each."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.evaluation.embed import evaluating


class Tokens(NamedTuple):
    """Sentences as numbers, padded to the longest of them."""

    ids: Tensor
    """int64, shape (n, t)."""
    mask: Tensor
    """1 at tokens and 0 at padding, int64, shape (n, t)."""


class Read(NamedTuple):
    """What a tower of pictures or texts makes of `n` of them: a vector of each, and states that one can attend to."""

    vector: Tensor
    """Not normalized, shape (n, e)."""
    states: Tensor
    """Of its words, patches or places, shape (n, t, d)."""
    padding: Tensor | None = None
    """Which of these stand for nothing, bool of shape (n, t), where there are such."""


class TokenPooling(nn.Module):
    """What text encoders share: a transformer over tokens whose states are pooled to one vector a text.

    Args:
        body: the transformer, in transformers' manner.
        width: d of its states, and of the vectors.
        pooling, max_length: as in `TextEncoder`.
    """

    def __init__(self, body: nn.Module, width: int, pooling: str, max_length: int) -> None:
        super().__init__()
        self.body = body
        self.width = self.output_dim = width
        self.pooling = pooling
        self.max_length = max_length

    @property
    def positions(self) -> int:
        """The longest text in tokens that it can read."""
        raise NotImplementedError

    def tokenize(self, texts: list[str], max_length: int | None = None) -> Tokens:
        """The ids of `texts`, cut at `max_length` (by default the encoder's), on the encoder's device."""
        raise NotImplementedError

    def hidden_states(self, tokens: Tokens) -> tuple[Tensor, ...]:
        """The embeddings and the output of each layer, layers + 1 tensors of shape (n, t, d)."""
        output = self.body(input_ids=tokens.ids, attention_mask=tokens.mask, output_hidden_states=True)
        return output.hidden_states

    def pool(self, states: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """One vector a sentence from `hidden_states`, shape (n, d)."""
        if self.pooling == "cls":
            return states[-1][:, 0]
        # Index 1, the first layer's output, as the released evaluation code of SimCSE has it; index 0, the embeddings,
        # is what its paper says.
        mean = states[-1] if self.pooling == "mean" else (states[1] + states[-1]) / 2
        weights = mask.unsqueeze(-1).to(mean.dtype)
        return (mean * weights).sum(dim=1) / weights.sum(dim=1)

    def vectors(self, tokens: Tokens) -> Tensor:
        """One vector a text, shape (n, d)."""
        return self.pool(self.hidden_states(tokens), tokens.mask)

    def forward(self, texts: list[str]) -> Tensor:
        """The vector of each text, shape (n, d), with gradient and, in training mode, with dropout."""
        return self.vectors(self.tokenize(texts))

    @torch.no_grad()
    def embed(self, texts: list[str], batch_size: int = 64) -> Tensor:
        """The vectors of any number of texts without dropout, shape (n, d), on the encoder's device.

        Texts are read as far as the position table goes: `max_length` is for training alone.
        """
        # By length, so that a batch holds little padding; the vectors go back to their places.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows = []
        with evaluating(self):
            for start in range(0, len(order), batch_size):
                tokens = self.tokenize([texts[i] for i in order[start : start + batch_size]], self.positions)
                rows.append(self.vectors(tokens).float())
        vectors = torch.empty(len(texts), self.width, device=next(self.parameters()).device)
        return vectors.index_copy_(0, torch.tensor(order, device=vectors.device), torch.cat(rows)) if rows else vectors
