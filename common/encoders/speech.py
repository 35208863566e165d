"""Speech encoders to be trained without labels: features of frames or waveforms, positions, a transformer."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.audio import BANDS
from common.encoders.sequence import Sequences
from common.errors import UserError


class FrameFeatures(nn.Module):
    """Log-mel frames to features by one convolution over three frames.

    Args:
        width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.convolution = nn.Conv1d(BANDS, width, 3, padding=1)

    def frames(self, lengths: Tensor) -> Tensor:
        """How many features come of so many frames."""
        return lengths

    def forward(self, speech: Tensor) -> Tensor:
        """(n, t, bands) -> (n, t, width)."""
        return F.gelu(self.convolution(speech.transpose(1, 2))).transpose(1, 2)


class WaveformFeatures(nn.Module):
    """Waveforms at 16 kHz to features, 49 a second: the seven convolutions of wav2vec 2.0, each with a layer norm.

    Source: Baevski et al. 2020, section 2, in fairseq's mode "layer_norm". 4.2 M parameters.

    Args:
        width: channels of every convolution.
    """

    KERNELS = (10, 3, 3, 3, 3, 2, 2)
    STRIDES = (5, 2, 2, 2, 2, 2, 2)

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.width = width
        shapes = zip((1, *[width] * 6), self.KERNELS, self.STRIDES, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv1d(i, width, k, stride, bias=False) for i, k, stride in shapes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.KERNELS)
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)

    def frames(self, lengths: Tensor) -> Tensor:
        """How many features come of so many samples."""
        for kernel, stride in zip(self.KERNELS, self.STRIDES, strict=True):
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def forward(self, speech: Tensor) -> Tensor:
        """(n, samples) -> (n, t, width)."""
        x = speech[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x).transpose(1, 2))).transpose(1, 2)
        return x.transpose(1, 2)


class ConvolutionalPositions(nn.Module):
    """What stands around a frame tells where it is: grouped convolutions, each under a norm without weights and a GELU.

    Source: data2vec (Baevski et al. 2022); wav2vec 2.0 has one convolution of width 128 instead.

    Args:
        width: d of the states.
        depth: convolutions.
        kernel: frames that each sees, odd.
        groups: divide the width.

    Raises:
        UserError: the kernel is even.
    """

    def __init__(self, width: int, depth: int = 5, kernel: int = 19, groups: int = 16) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"positions by convolutions over {kernel} frames: expected an odd number")
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups) for _ in range(depth)
        )

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Adds the positions to `x` (n, t, d); `real`, bool (n, t), is False at padding, None if there is none."""
        y = x
        for convolution in self.convolutions:
            # Zeroed before each, so that a row comes out the same whatever its batch pads it to.
            y = y if real is None else y * real[:, :, None]
            y = F.gelu(F.layer_norm(convolution(y.transpose(1, 2)).transpose(1, 2), y.shape[2:]))
        return x + y


class SpeechLayer(nn.Module):
    """A post-norm transformer layer that also tells what its feed-forward part added.

    Args:
        width: d of the states.
        heads, feedforward: of the layer.
        dropout: of the attention weights and of what is added.
        activation_dropout: within the feed-forward part, behind its GELU.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, activation_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm = nn.LayerNorm(width)
        self.dropout, self.activation_dropout = nn.Dropout(dropout), nn.Dropout(activation_dropout)
        # Of BERT, as in fairseq.
        for weight in (self.attention.in_proj_weight, *(part.weight for part in self._linear())):
            nn.init.normal_(weight, std=0.02)
        for part in self._linear():
            nn.init.zeros_(part.bias)

    def _linear(self) -> tuple[nn.Linear, ...]:
        return self.attention.out_proj, self.rise, self.fall

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, t, d) -> the states and the feed-forward part before it is added, both (n, t, d)."""
        attended, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
        x = self.attention_norm(x + self.dropout(attended))
        added = self.fall(self.activation_dropout(F.gelu(self.rise(x))))
        return self.norm(x + self.dropout(added)), added


class SpeechTransformer(nn.Module):
    """The layers of wav2vec 2.0 and data2vec.

    Args:
        width, heads, feedforward, dropout, activation_dropout: as in `SpeechLayer`.
        layers: how many.
        layerdrop: probability of leaving a layer out, in training.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.1,
        layerdrop: float = 0.0,
        activation_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            SpeechLayer(width, heads, feedforward, dropout, activation_dropout) for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.layerdrop = layerdrop

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The last states (n, t, d) of `x` (n, t, d), and what the feed-forward part of each layer added.

        Args:
            x: with positions.
            real: bool (n, t), False at padding, which has no influence; None if there is none.
        """
        x, added = self.dropout(self.norm(x)), []
        padding = None if real is None else ~real
        for layer in self.layers:
            if not self.training or float(torch.rand(())) >= self.layerdrop:
                x, last = layer(x, padding)
                added.append(last)
        return x, added


class SpeechEncoder(nn.Module):
    """What wav2vec 2.0 and data2vec train: features, a norm, a projection, positions, and the transformer on them.

    Args:
        features: of log-mel "frames" or of a "waveform".
        feature_width: of those features.
        width, layers, heads, feedforward, dropout, activation_dropout, layerdrop: of the transformer.
        position_depth, position_kernel: of the convolutional positions.
    """

    def __init__(
        self,
        *,
        features: Literal["frames", "waveform"] = "frames",
        feature_width: int = 96,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.1,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
        position_depth: int = 2,
        position_kernel: int = 9,
    ) -> None:
        super().__init__()
        self.output_dim = width
        self.features = FrameFeatures(feature_width) if features == "frames" else WaveformFeatures(feature_width)
        self.norm = nn.LayerNorm(feature_width)
        self.project = nn.Linear(feature_width, width)
        self.masked = nn.Parameter(torch.rand(width))
        """Stands for what is hidden from the transformer, (width,)."""
        self.positions = ConvolutionalPositions(width, position_depth, position_kernel)
        self.transformer = SpeechTransformer(width, layers, heads, feedforward, dropout, layerdrop, activation_dropout)

    def enter(self, speech: Sequences) -> Sequences:
        """Speech, padded with zeros, as it enters the positions: projected features, (n, t, width)."""
        x = self.project(self.norm(self.features(speech.values)))
        return Sequences.of_lengths(x, self.features.frames(speech.real.sum(1)))

    def states(self, entered: Sequences) -> Sequences:
        """The transformer's last states of what entered, (n, t, width)."""
        values, real = entered
        return Sequences(self.transformer(self.positions(values, real), real)[0], real)
