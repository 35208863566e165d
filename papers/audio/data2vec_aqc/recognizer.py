"""Fine-tuning: letters of English out of a pre-trained student, by connectionist temporal classification."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import TranscribedSpeech
from common.distributed import global_mean
from common.encoders.sequence import Sequences
from common.errors import UserError
from common.sampling.masking import span_mask
from papers.audio.data2vec_aqc.module import Data2VecAQC

CHARACTERS = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Classes 1 to 28; class 0 is CTC's blank."""


class Recognizer(Data2VecAQC):
    """A linear layer over the student's last states, trained with the student by CTC (Graves et al. 2006).

    The recipe of wav2vec 2.0 (Baevski et al. 2020, section 4.3): spans of frames and of channels stay masked, the
    convolutions are not trained.

    Args:
        weights: checkpoint of a `Data2VecAQC` of the same shape; by default the student starts at random.
        channel_share, channel_span: channels of the states that are masked, as frames are by mask_share and mask_span.
        frozen_steps: at first, in which the linear layer alone is trained.
        encoder: the arguments of `Data2VecAQC`; those of teacher and contrast have no effect.

    Raises:
        UserError: `weights` lacks what the student has.
    """

    def __init__(
        self,
        *,
        weights: str | None = None,
        channel_share: float = 0.5,
        channel_span: int = 64,
        frozen_steps: int = 0,
        **encoder,
    ) -> None:
        super().__init__(**encoder)
        pretraining = ("predict", "teacher", "quantizer", "project_quantized", "project_states")
        for name in pretraining:
            if hasattr(self, name):
                delattr(self, name)
        if weights is not None and torch.get_default_device().type != "meta":
            known = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
            missing = self.load_state_dict(known, strict=False).missing_keys
            if missing:
                raise UserError(f"model.weights, {weights}, has no {missing[0]}; it must be of a Data2VecAQC")
        self.channel_share, self.channel_span = channel_share, channel_span
        self.frozen_steps = frozen_steps
        self.features.requires_grad_(False)
        self.letters = nn.Linear(self.project.out_features, len(CHARACTERS) + 1)

    def training_step(self, batch: TranscribedSpeech, batch_idx: int) -> Tensor:
        with torch.set_grad_enabled(self.global_step >= self.frozen_steps):
            x, real = self.frames(batch.speech, batch.length)
            frames = span_mask(batch.ids, x.shape[1], self.mask_share, self.mask_span, *self.key("masks"))
            x = torch.where(frames[:, :, None], self.masked, x)
            channels = span_mask(batch.ids, x.shape[2], self.channel_share, self.channel_span, *self.key("channels"))
            x = x.masked_fill(channels[:, None], 0.0)
            states, _ = self.student(self.positions(x, real), real)
        chances = self.letters(states).float().log_softmax(2).transpose(0, 1)
        texts = [torch.tensor([CHARACTERS.index(c) + 1 for c in text]) for text in batch.transcript]
        sizes = torch.tensor([len(text) for text in texts])
        # An utterance with more letters than frames has no path, and no gradient.
        losses = F.ctc_loss(
            chances, torch.cat(texts).to(x.device), real.sum(1), sizes, reduction="none", zero_infinity=True
        )
        return self.log_loss(global_mean(losses))

    def frames(self, speech: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the transformer, (n, t, d), and where it is no padding, bool (n, t)."""
        x = self.project(self.feature_norm(self.features(speech)))
        return Sequences.of_lengths(x, self.features.frames(length))

    def follow(self) -> None:
        """There is no teacher."""

    def transcribe_speech(self, clips: list[Tensor]) -> list[str]:
        """The likeliest letter of each frame, runs and blanks left out; no language model."""
        speech = Sequences.padded(clips).to(self.device)
        x, real = self.frames(speech.values, speech.real.sum(1))
        best = self.letters(self.student(self.positions(x, real), real)[0]).argmax(2)
        texts = []
        for row, size in zip(best.cpu(), real.sum(1).tolist(), strict=True):
            letters = row[:size].unique_consecutive().tolist()
            texts.append("".join(CHARACTERS[c - 1] for c in letters if c).strip())
        return texts
