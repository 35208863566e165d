"""TMR (Petrovich et al. 2023): TEMOS, a variational model of motions and texts, with a filtered contrastive loss."""

from torch import Tensor
from torch.nn import functional as F

from common.batches import CaptionedMotions
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.gaussian import Gaussian
from common.encoders.sequence import SequenceDecoder, SequenceEncoder, Sequences
from common.encoders.text import FrozenTokenStates, TextEncoderName
from common.encoders.text import text_encoder as language_model
from common.losses import filtered_info_nce
from common.random import normal
from common.training.method import Method


class TEMOS(Method):
    """Text and motion as Gaussians in one space, from either of which the motion is decoded (Petrovich et al. 2022).

    L = w_r (L1s(D(z_T), M) + L1s(D(z_M), M)) + w_k (KL(T, M) + KL(M, T) + KL(M, N) + KL(T, N)) + w_l L1s(z_T, z_M),
    with z ~ N(mean, variance), L1s the smooth L1 and N the standard normal. All terms are means, over frames (padding
    included) and dimensions, as in the released code. Embeddings are the means of the Gaussians.

    Args:
        channels: of a frame of motion.
        text_encoder: frozen language model whose token states the text's own transformer reads.
        weights: folder with its files, where they are not the repository's own.
        width: d of the space and of the three transformers, even.
        layers, heads, feedforward, dropout: of the three transformers.
        reconstruction: w_r; at 0 there is no decoder.
        divergence: w_k.
        agreement: w_l.
        noise: multiplies the noise of the samples; at 0 the losses see the means.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        channels: int = 6,
        text_encoder: TextEncoderName = "mini-bert",
        weights: str | None = None,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 128,
        dropout: float = 0.1,
        reconstruction: float = 1.0,
        divergence: float = 1e-5,
        agreement: float = 1e-5,
        noise: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        shape = dict(width=width, layers=layers, heads=heads, feedforward=feedforward, dropout=dropout)
        language = language_model(text_encoder, weights=weights)
        # Two summaries of a sequence: the mean and the log-variance.
        self.motion_encoder = SequenceEncoder(channels, summaries=2, **shape)
        self.text_encoder = SequenceEncoder(language.width, summaries=2, **shape)
        self.tokens = FrozenTokenStates(language)
        self.decoder = SequenceDecoder(channels, **shape) if reconstruction else None
        self.reconstruction = reconstruction
        self.divergence = divergence
        self.agreement = agreement
        self.noise = noise

    def training_step(self, batch: CaptionedMotions, batch_idx: int) -> Tensor:
        motions = Sequences.of_lengths(batch.motion, batch.length)
        gaussians = self.of_text(batch.text), self.of_motion(motions)
        width = gaussians[0].mean.shape[1]
        text, motion = (
            g.sample(self.noise * normal(batch.ids, width, *self.key(f"noise of the {tower}")).to(g.mean))
            for tower, g in zip(("text", "motion"), gaussians, strict=True)
        )
        terms = self.terms(gaussians, text, motion, motions) | self.contrast_terms(text, motion, batch.meaning)
        return self.log_loss(
            sum(weight * term for weight, term in terms.values()), **{k: t for k, (_, t) in terms.items()}
        )

    def terms(
        self, gaussians: tuple[Gaussian, Gaussian], text: Tensor, motion: Tensor, motions: Sequences
    ) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term of TEMOS, from the Gaussians of text and motion and one sample of each."""
        of_text, of_motion = gaussians
        standard = Gaussian.standard(of_text)
        pairs = ((of_text, of_motion), (of_motion, of_text), (of_motion, standard), (of_text, standard))
        terms = {
            "divergence": (self.divergence, global_mean(sum(one.divergence(other) for one, other in pairs))),
            "agreement": (self.agreement, global_mean(F.smooth_l1_loss(text, motion, reduction="none").mean(dim=1))),
        }
        if self.decoder is not None:
            decoded = (self.decoder(vectors, motions.real) for vectors in (text, motion))
            errors = (F.smooth_l1_loss(frames, motions.values, reduction="none").mean(dim=(1, 2)) for frames in decoded)
            terms["reconstruction"] = self.reconstruction, global_mean(sum(errors))
        return terms

    def contrast_terms(self, text: Tensor, motion: Tensor, meaning: Tensor) -> dict[str, tuple[float, Tensor]]:
        """TEMOS has none."""
        return {}

    def of_text(self, texts: list[str]) -> Gaussian:
        return Gaussian(*self.text_encoder(Sequences.padded(self.tokens(texts))).unbind(dim=1))

    def of_motion(self, motions: Sequences) -> Gaussian:
        return Gaussian(*self.motion_encoder(motions).unbind(dim=1))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.of_text(texts).mean

    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        return self.of_motion(Sequences.padded([motion.to(self.device) for motion in motions])).mean


class TMR(TEMOS):
    """TEMOS with InfoNCE between the sampled vectors, blind to negatives whose captions say nearly the same (eq. 1).

    Args:
        contrast: weight of InfoNCE.
        temperature: divides the cosine similarities.
        filter_above: pairs of captions more similar than this are no negatives of each other; the similarity is in
            [0, 1], half of one plus the cosine, and 1 filters nothing.
        others: the arguments of `TEMOS` and `Method`.

    Raises:
        UserError: `filter_above` is out of range.
    """

    contrastive = True

    def __init__(self, *, contrast: float = 0.1, temperature: float = 0.1, filter_above: float = 0.8, **others) -> None:
        super().__init__(**others)
        check_number("model.filter_above", filter_above, least=0, most=1)
        self.contrast = contrast
        self.temperature = temperature
        self.filter_above = filter_above

    def contrast_terms(self, text: Tensor, motion: Tensor, meaning: Tensor) -> dict[str, tuple[float, Tensor]]:
        loss = filtered_info_nce(
            F.normalize(text, dim=1),
            F.normalize(motion, dim=1),
            temperature=self.temperature,
            meaning=meaning,
            threshold=2 * self.filter_above - 1,
        )
        return {"contrast": (self.contrast, loss)}
