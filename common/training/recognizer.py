"""Fine-tuning of a speech encoder: letters of English, by connectionist temporal classification."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import TranscribedSpeech
from common.distributed import global_mean
from common.encoders.sequence import Sequences
from common.encoders.speech import SpeechEncoder
from common.errors import UserError
from common.sampling.masking import span_mask
from common.training.checkpoint import read_checkpoint
from common.training.method import Method

CHARACTERS = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Classes 1 to 28; class 0 is CTC's blank."""


class Recognizer(Method):
    """A linear layer over the encoder's last states, trained with the encoder by CTC (Graves et al. 2006).

    The recipe of wav2vec 2.0 (Baevski et al. 2020, section 4.3): spans of frames and of channels stay masked, the
    features are not trained.

    Args:
        weights: checkpoint of a module with such a `SpeechEncoder` as its `encoder`; by default it starts at random.
        mask_share, mask_span: frames that are masked, as in `span_mask`.
        channel_share, channel_span: the same for channels.
        frozen_steps: at first, in which the linear layer alone is trained.
        features, feature_width, width, layers, heads, feedforward: as in `SpeechEncoder`.
        dropout, activation_dropout, layerdrop, position_depth, position_kernel: as there.
        optimization: the arguments of `Method`.

    Raises:
        UserError: `weights` lacks what the encoder has.
    """

    def __init__(
        self,
        *,
        weights: str | None = None,
        mask_share: float = 0.65,
        mask_span: int = 10,
        channel_share: float = 0.5,
        channel_span: int = 64,
        frozen_steps: int = 0,
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
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        front = dict(features=features, feature_width=feature_width)
        positions = dict(position_depth=position_depth, position_kernel=position_kernel)
        shape = dict(width=width, layers=layers, heads=heads, feedforward=feedforward, layerdrop=layerdrop)
        self.encoder = SpeechEncoder(
            **front, **positions, **shape, dropout=dropout, activation_dropout=activation_dropout
        )
        if weights is not None and torch.get_default_device().type != "meta":
            self._start_from(weights)
        self.encoder.features.requires_grad_(False)
        self.mask_share, self.mask_span = mask_share, mask_span
        self.channel_share, self.channel_span = channel_share, channel_span
        self.frozen_steps = frozen_steps
        self.letters = nn.Linear(width, len(CHARACTERS) + 1)

    def _start_from(self, weights: str) -> None:
        known = read_checkpoint(weights, "model.weights")["state_dict"]
        ours = {f"encoder.{name}" for name in self.encoder.state_dict()}
        if missing := sorted(ours - known.keys()):
            raise UserError(f"model.weights, {weights}, has no {missing[0]}; it must be of a module with this encoder")
        self.load_state_dict({name: known[name] for name in ours}, strict=False)

    def training_step(self, batch: TranscribedSpeech, batch_idx: int) -> Tensor:
        with torch.set_grad_enabled(self.global_step >= self.frozen_steps):
            x, real = self.encoder.enter(Sequences.of_lengths(batch.speech, batch.length))
            frames = span_mask(batch.ids, x.shape[1], self.mask_share, self.mask_span, *self.key("masks"))
            x = torch.where(frames[:, :, None], self.encoder.masked, x)
            channels = span_mask(batch.ids, x.shape[2], self.channel_share, self.channel_span, *self.key("channels"))
            states = self.encoder.states(Sequences(x.masked_fill(channels[:, None], 0.0), real)).values
        chances = self.letters(states).float().log_softmax(2).transpose(0, 1)
        texts = [torch.tensor([CHARACTERS.index(c) + 1 for c in text]) for text in batch.transcript]
        sizes = torch.tensor([len(text) for text in texts])
        # An utterance with more letters than frames has no path, and no gradient.
        losses = F.ctc_loss(
            chances, torch.cat(texts).to(x.device), real.sum(1), sizes, reduction="none", zero_infinity=True
        )
        return self.log_loss(global_mean(losses))

    def transcribe_speech(self, clips: list[Tensor]) -> list[str]:
        """The likeliest letter of each frame, runs and blanks left out; no language model."""
        states, real = self.encoder.states(self.encoder.enter(Sequences.padded(clips).to(self.device)))
        texts = []
        for row, size in zip(self.letters(states).argmax(2).cpu(), real.sum(1).tolist(), strict=True):
            letters = row[:size].unique_consecutive().tolist()
            texts.append("".join(CHARACTERS[c - 1] for c in letters if c).strip())
        return texts
