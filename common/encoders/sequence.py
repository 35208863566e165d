"""Transformers over sequences of vectors (frames of a motion, states of tokens): to a summary, and back from one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence


class Sequences(NamedTuple):
    """`n` sequences of vectors, padded with zeros to the longest of them."""

    values: Tensor
    """Shape (n, t, c)."""
    real: Tensor
    """False at padding, bool of shape (n, t)."""

    @classmethod
    def padded(cls, sequences: Sequence[Tensor]) -> "Sequences":
        """From tensors of shapes (t_i, c)."""
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=sequences[0].device)
        return cls.of_lengths(pad_sequence(list(sequences), batch_first=True), lengths)

    @classmethod
    def of_lengths(cls, values: Tensor, lengths: Tensor) -> "Sequences":
        """From values that are padded already, shape (n, t, c), and their lengths, shape (n,)."""
        return cls(values, torch.arange(values.shape[1], device=values.device) < lengths[:, None])

    def to(self, device: torch.device) -> "Sequences":
        return Sequences(self.values.to(device), self.real.to(device))


def means_of_parts(sequences: Sequences, parts: int) -> Tensor:
    """The means of equal parts of each sequence, one after another, (n, parts * d): where a sound stands is kept.

    A part without a frame, where a sequence has fewer than there are parts, is zero.
    """
    values, real = sequences
    place = torch.arange(values.shape[1], device=values.device)
    part = place * parts // real.sum(dim=1, keepdim=True)
    inside = (part[:, None] == torch.arange(parts, device=values.device)[:, None]) & real[:, None]
    weights = inside.to(values.dtype)
    return ((weights @ values) / weights.sum(dim=2, keepdim=True).clamp(min=1)).flatten(1)


def standardized_over_time(x: Tensor) -> Tensor:
    """Each row and channel of (n, t, d) to mean 0 and variance 1 over time, at least in float32."""
    return F.instance_norm(x.to(torch.promote_types(x.dtype, torch.float32)).transpose(1, 2)).transpose(1, 2)


class SinusoidalPositions(nn.Module):
    """Adds sin and cos of the position at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017), then drops out.

    Args:
        width: d, even.
        dropout: probability, applied to the sum.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, d) -> (n, t, d)."""
        # Computed at each call, a thousandth of a layer's work: a table would need a longest sequence.
        position = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        even = torch.arange(0, self.width, 2, device=x.device)
        angle = position[:, None] * torch.exp(even * (-math.log(10_000.0) / self.width))
        return self.dropout(x + torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(x))


class SequenceEncoder(nn.Module):
    """Reads a sequence into a few vectors: learnt tokens stand before it, and their last states come out.

    The encoder of ACTOR (Petrovich et al. 2021) without its action labels, as in TEMOS and TMR.

    Args:
        channels: c, width of the input vectors.
        summaries: s, how many vectors come out; 2 for the mean and the log-variance of a Gaussian.
        width: d.
        layers, heads, feedforward, dropout: of the transformer, post-norm with GELU.
    """

    def __init__(
        self, channels: int, summaries: int, width: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, width)
        self.tokens = nn.Parameter(torch.randn(summaries, width))
        self.positions = SinusoidalPositions(width, dropout)
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, "gelu", batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, sequences: Sequences) -> Tensor:
        """The summaries, (n, s, d); what stands at padding has no influence."""
        summaries, count = self.tokens.expand(len(sequences.values), -1, -1), len(self.tokens)
        states = self.positions(torch.cat([summaries, self.projection(sequences.values)], dim=1))
        padding = torch.cat([sequences.real.new_zeros(len(states), count), ~sequences.real], dim=1)
        return self.body(states, src_key_padding_mask=padding)[:, :count]


class SequenceDecoder(nn.Module):
    """Unfolds a vector into a sequence: positions ask, and the vector is all that they can attend to.

    The decoder of ACTOR (Petrovich et al. 2021), as in TEMOS and TMR.

    Args:
        channels: c, width of the output vectors.
        width: d of the vector and of the transformer.
        layers, heads, feedforward, dropout: of the transformer, post-norm with GELU.
    """

    def __init__(self, channels: int, width: int, layers: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.positions = SinusoidalPositions(width, dropout)
        layer = nn.TransformerDecoderLayer(width, heads, feedforward, dropout, "gelu", batch_first=True)
        self.body = nn.TransformerDecoder(layer, layers)
        self.output = nn.Linear(width, channels)

    def forward(self, vector: Tensor, real: Tensor) -> Tensor:
        """Sequences of shape (n, t, c) from vectors (n, d), zero where `real`, bool of shape (n, t), is False."""
        queries = self.positions(vector.new_zeros(*real.shape, vector.shape[1]))
        states = self.body(queries, vector[:, None], tgt_key_padding_mask=~real)
        return self.output(states).masked_fill(~real[..., None], 0.0)
