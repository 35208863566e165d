"""data2vec-aqc (Lodagala et al. 2023): data2vec with augmentation, quantized targets and clustered negatives."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import SpeechViews
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.momentum import MomentumTeacher
from common.encoders.quantizer import GumbelQuantizer
from common.encoders.sequence import Sequences, means_of_parts, standardized_over_time
from common.encoders.speech import SpeechEncoder
from common.errors import UserError
from common.random import uniform
from common.sampling.clusters import clusters_of_all
from common.sampling.masking import span_mask
from common.training.method import Method
from papers.audio.data2vec_aqc.contrast import damped_cross_entropy, draw_negatives


class Data2VecAQC(Method):
    """The student, which reads masked speech, predicts what the teacher makes of the whole; the teacher follows it.

    Per masked frame, L = |W s - y|^2 / sqrt(d) + 1/2 CE(s; q) + 1/2 CE(y; q') + 0.1 diversity + 10 |f|^2, with s of the
    augmented view, y of the clean one, q and q' the quantized features of the two. y is the mean of what the
    feed-forward parts of the teacher's top layers add, each normalized over time.

    Args:
        parts: "" is data2vec; "a" augments the student's view; "aq" adds quantizer and cross-contrast; "aqc" damps the
            negatives of the positive's cluster.
        feature_gradient: what reaches the layers below the features is multiplied by it; 0 leaves them as drawn.
        features, feature_width, width, layers, heads, feedforward, dropout, layerdrop, position_depth,
            position_kernel: as in `SpeechEncoder`.
        top: layers that the target is the mean of.
        mask_share, mask_span: as in `span_mask`.
        decay, end_decay, anneal: the teacher's decay rises linearly from the first to the second in so many steps.
        codes, groups: of the quantizer; output_width: of quantized vectors and projections.
        negatives: drawn for each masked frame.
        temperature: divides the cosines.
        scale: of the logits of damped negatives.
        cluster_factor: there is one cluster for so many frames of an excerpt, and at least two.
        gumbel: temperature of the quantizer at first, in the end, and its factor at each step.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        parts: Literal["", "a", "aq", "aqc"] = "aqc",
        features: Literal["frames", "waveform"] = "frames",
        feature_width: int = 96,
        feature_gradient: float = 1.0,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.1,
        layerdrop: float = 0.0,
        position_depth: int = 2,
        position_kernel: int = 9,
        top: int = 3,
        mask_share: float = 0.65,
        mask_span: int = 10,
        decay: float = 0.99,
        end_decay: float = 0.999,
        anneal: int = 200,
        codes: int = 32,
        groups: int = 2,
        output_width: int = 64,
        negatives: int = 20,
        temperature: float = 0.1,
        scale: float = 0.3,
        cluster_factor: int = 16,
        gumbel: tuple[float, float, float] = (2.0, 0.5, 0.999995),
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 1 <= top <= layers:
            raise UserError(f"model.top is {top}; it must be from 1 to model.layers, {layers}")
        check_number("model.anneal", anneal, least=1)
        check_number("model.cluster_factor", cluster_factor, least=1)
        check_number("model.gumbel, the lowest temperature,", gumbel[1], above=0)
        front = dict(features=features, feature_width=feature_width)
        positions = dict(position_depth=position_depth, position_kernel=position_kernel)
        shape = dict(width=width, layers=layers, heads=heads, feedforward=feedforward, layerdrop=layerdrop)
        self.encoder = SpeechEncoder(**front, **positions, **shape, dropout=dropout)
        self.encoder.features.requires_grad_(feature_gradient > 0)
        self.teacher = MomentumTeacher(self.encoder.transformer)
        self.predict = nn.Linear(width, width)
        self.parts, self.top, self.feature_gradient = parts, top, feature_gradient
        self.mask_share, self.mask_span, self.cluster_factor = mask_share, mask_span, cluster_factor
        self.decay, self.end_decay, self.anneal, self.gumbel = decay, end_decay, anneal, gumbel
        self.negatives, self.temperature, self.scale = negatives, temperature, scale
        if "q" in parts:
            self.quantizer = GumbelQuantizer(feature_width, output_width, codes, groups)
            self.project_quantized = nn.Linear(output_width, output_width)
            self.project_states = nn.Linear(width, output_width)

    def training_step(self, batch: SpeechViews, batch_idx: int) -> Tensor:
        ids, encoder = batch.ids, self.encoder
        if self.parts and len(batch.views) < 2:
            raise UserError(f"data.views gives 1 view of an excerpt; model.parts {self.parts!r} takes two")
        clean = self.read(batch.views[0])
        features = encoder.norm(clean)
        seen = encoder.norm(self.read(batch.views[1])) if self.parts else features
        mask = span_mask(ids, features.shape[1], self.mask_share, self.mask_span, *self.key("masks"))
        entered = torch.where(mask[:, :, None], encoder.masked, encoder.project(seen))
        states, _ = encoder.transformer(encoder.positions(entered))
        targets = self.targets(encoder.project(features).detach())

        def chosen(x: Tensor) -> Tensor:
            return x[mask].unflatten(0, (len(ids), -1))

        state, target = chosen(states), chosen(targets)
        error = (self.predict(state) - target).square().sum(-1) / math.sqrt(target.shape[-1])
        losses = {"regression": global_mean(error.flatten())}
        total = losses["regression"]
        if "q" in self.parts:
            losses |= self.contrast(state, target, chosen(features), chosen(seen), ids, features.shape[1])
            losses["penalty"] = global_mean(clean.float().square().mean((1, 2)))
            total = total + 0.5 * (losses["student"] + losses["teacher"])
            total = total + 0.1 * losses["diversity"] + 10 * losses["penalty"]
        # What tells a collapse: the authors stop where it falls below 0.1.
        self.log("train/target_deviation", target.flatten(0, 1).std(0).mean(), batch_size=1)
        return self.log_loss(total, **losses)

    def read(self, speech: Tensor) -> Tensor:
        """The features of speech, (n, t, d), with as much gradient as the recipe wants."""
        features = self.encoder.features(speech)
        return torch.lerp(features.detach(), features, self.feature_gradient)

    def targets(self, x: Tensor) -> Tensor:
        """The teacher's mean over its top layers of what is unmasked, (n, t, d)."""
        with torch.no_grad():
            _, added = self.teacher(self.encoder.positions(x))
            return torch.stack([standardized_over_time(one) for one in added[-self.top :]]).mean(0)

    def contrast(
        self, state: Tensor, target: Tensor, clean: Tensor, augmented: Tensor, ids: Tensor, frames: int
    ) -> dict[str, Tensor]:
        """The two cross-contrastive terms and the quantizer's diversity, from what stands at masked frames."""
        masked = clean.shape[1]
        first, last, factor = self.gumbel
        temperature = max(first * factor**self.global_step, last)
        size = masked * self.quantizer.groups * self.quantizer.codes
        sides = [
            self.quantizer(x, temperature, uniform(ids, size, *self.key(f"codes of the {view} view")))
            for view, x in (("clean", clean), ("augmented", augmented))
        ]
        keys = [self.project_quantized(side.vectors) for side in sides]
        clusters: tuple[Tensor | None, Tensor | None] = (None, None)
        if "c" in self.parts:
            clusters = clusters_of_all(*keys, max(2, frames // self.cluster_factor), *self.key("clusters"))
        terms = {"diversity": sides[0].diversity}
        options = dict(temperature=self.temperature, scale=self.scale)
        # Crosswise: the student, which saw the augmented view, and the clean codes; the teacher and the augmented ones.
        queries = {"student": self.project_states(state), "teacher": self.project_states(target)}
        for (name, query), key, side, cluster in zip(queries.items(), keys, sides, clusters, strict=True):
            others = draw_negatives(ids, masked, self.negatives, *self.key(f"negatives of the {name}"))
            loss = damped_cross_entropy(query, key, side.codes, others, cluster, **options)
            terms[name] = global_mean(loss.flatten())
        return terms

    def follow(self) -> None:
        """Moves the teacher towards the student, at the decay of this step."""
        done = min(1.0, self.global_step / self.anneal)
        self.teacher.update(self.encoder.transformer, self.decay + done * (self.end_decay - self.decay))

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        """The student's last states, averaged over each third of a recording; no mask, no augmentation.

        Not over all of it: what the student predicts has mean 0 over time.
        """
        speech = Sequences.padded(clips).to(self.device)
        return means_of_parts(self.encoder.states(self.encoder.enter(speech)), 3)
