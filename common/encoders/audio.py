"""Parts of speech encoders: subsampling, pooling, and wav2vec 2.0 by its published shape."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model

from common.encoders.sequence import Sequences
from common.encoders.weights import are_read


class ConvSubsampler(nn.Module):
    """Convolutions of stride 2 with gated linear units: a quarter of the frames, for two of them.

    Source: Synnaeve et al. 2019, as in fairseq's speech-to-text models.

    Args:
        inputs: width of a frame.
        hidden: channels of each convolution but the last, before the gate halves them.
        output: width of what comes out.
        kernels: width of each convolution, odd.
    """

    def __init__(self, inputs: int, hidden: int, output: int, kernels: tuple[int, ...] = (5, 5)) -> None:
        super().__init__()
        widths = [inputs, *[hidden // 2] * (len(kernels) - 1)]
        channels = [*[hidden] * (len(kernels) - 1), 2 * output]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, channel, kernel, stride=2, padding=kernel // 2)
            for width, channel, kernel in zip(widths, channels, kernels, strict=True)
        )

    def forward(self, sequences: Sequences) -> Sequences:
        """(n, t, inputs) -> (n, ceil(t / 2^convolutions), output); padding must be zero."""
        x, lengths = sequences.values.transpose(1, 2), sequences.real.sum(1)
        for convolution in self.convolutions:
            lengths = (lengths - 1) // 2 + 1
            x = F.glu(convolution(x), dim=1)
            # What a bias puts into the padding would leak into the last real frames at the next convolution.
            x = x * (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]
        return Sequences.of_lengths(x.transpose(1, 2), lengths)


def mean_of_real(sequences: Sequences) -> Tensor:
    """The mean of each sequence without its padding, (n, d)."""
    real = sequences.real[:, :, None].to(sequences.values.dtype)
    return (sequences.values * real).sum(dim=1) / real.sum(dim=1)


class Wav2Vec2(nn.Module):
    """wav2vec 2.0 Base (Baevski et al. 2020): waveforms at 16 kHz to 768 numbers, 49 times a second; 94.4 M parameters.

    Args:
        weights: folder with transformers' files of a pretrained model; by default it starts at random.
    """

    output_dim = 768

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        # Masking belongs to pre-training; the vector that stands for what is masked would never be trained.
        options = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        if weights is None or not are_read(torch.empty(0)):
            self.body = Wav2Vec2Model(Wav2Vec2Config(**options))
        else:
            self.body = Wav2Vec2Model.from_pretrained(weights, local_files_only=True, use_safetensors=True, **options)

    def forward(self, sequences: Sequences) -> Sequences:
        """(n, samples) -> (n, t, 768)."""
        mask = sequences.real.long()
        states = self.body(sequences.values, attention_mask=mask).last_hidden_state
        lengths = self.body._get_feat_extract_output_lengths(mask.sum(1))
        return Sequences.of_lengths(states, lengths)
