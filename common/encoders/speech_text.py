"""A transformer that speech and text share: both enter it as vectors of one width, and one decoder writes text."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.audio import ConvSubsampler
from common.encoders.generation import Tokens, generate
from common.encoders.sequence import Sequences, SinusoidalPositions


class SpeechTextTransformer(nn.Module):
    """Pre-norm encoder and decoder over subsampled speech or embedded tokens, with one table for tokens in and out.

    The architecture of XSTNet (Ye et al. 2021), which ConST uses.

    Args:
        acoustic: maps `Sequences` of what the benchmark yields to `Sequences` of width `frame_width`.
        frame_width: of what `acoustic` returns.
        vocab_size: rows of the token table.
        tokens: special ids.
        width: d of the shared states.
        layers: of the encoder, and as many of the decoder.
        heads, feedforward, dropout: of the transformer.
        channels: of the subsampling convolutions.
    """

    def __init__(
        self,
        acoustic: nn.Module,
        frame_width: int,
        vocab_size: int,
        tokens: Tokens,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        channels: int,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.width = width
        self.acoustic = acoustic
        self.subsampler = ConvSubsampler(frame_width, channels, width)
        self.table = nn.Embedding(vocab_size, width, padding_idx=tokens.pad)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.positions = SinusoidalPositions(width, dropout)
        options = dict(activation="relu", batch_first=True, norm_first=True)
        encoder = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, **options)
        decoder = nn.TransformerDecoderLayer(width, heads, feedforward, dropout, **options)
        self.encoder = nn.TransformerEncoder(encoder, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, layers, nn.LayerNorm(width))

    def enter_speech(self, speech: Sequences) -> Sequences:
        """Speech as it enters the shared encoder: subsampled, scaled by sqrt(d), with positions."""
        values, real = self.subsampler(self.acoustic(speech))
        return Sequences(self.positions(math.sqrt(self.width) * values), real)

    def enter_text(self, ids: Tensor) -> Sequences:
        """Token ids (n, t) as they enter the shared encoder, and the decoder."""
        return Sequences(self.positions(math.sqrt(self.width) * self.table(ids)), ids != self.tokens.pad)

    def encode(self, entered: Sequences) -> Sequences:
        """Speech or text, through the shared encoder."""
        return Sequences(self.encoder(entered.values, src_key_padding_mask=~entered.real), entered.real)

    def decode(self, memory: Sequences, ids: Tensor) -> Tensor:
        """Logits (n, t, v) of the token after each of `ids` (n, t), given what was encoded."""
        entered = self.enter_text(ids)
        ahead = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).triu(1)
        states = self.decoder(
            entered.values,
            memory.values,
            tgt_mask=ahead,
            tgt_key_padding_mask=~entered.real,
            memory_key_padding_mask=~memory.real,
        )
        return F.linear(states, self.table.weight)

    def cross_entropy(self, memory: Sequences, ids: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Of each token of `ids` (n, t) but the first, given those before it; the sum over all that are no padding.

        Args:
            memory: of `encode`.
            ids: texts, padded.
            label_smoothing: share of the target that is spread evenly over the vocabulary.
        """
        logits = self.decode(memory, ids[:, :-1]).flatten(0, 1)
        options = dict(ignore_index=self.tokens.pad, label_smoothing=label_smoothing)
        return F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum", **options)

    @torch.no_grad()
    def generate(self, memory: Sequences, first: int, longest: int, beam: int = 1) -> list[list[int]]:
        """The likeliest text for each row of `memory`, by beam search; scores are divided by the length.

        Args:
            memory: of `encode`.
            first: the token that the decoder begins with, such as a language.
            longest: tokens after which a text is cut.
            beam: texts kept at each step; 1 is greedy.

        Returns:
            Token ids without `first` and without the end.
        """
        copies = Sequences(memory.values.repeat_interleave(beam, 0), memory.real.repeat_interleave(beam, 0))
        start = torch.full((len(memory.values),), first, device=memory.values.device)
        return generate(lambda ids: self.decode(copies, ids)[:, -1], start, longest, self.tokens, beam)
