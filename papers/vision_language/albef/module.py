"""ALBEF (Li et al. 2021): align pictures and texts before fusing them, and learn from a momentum copy of the model."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.distributed import Shards, gather, global_mean, shards
from common.encoders.fusion import Encoded, Pair, VisionLanguageEncoder
from common.encoders.image import to_float
from common.encoders.momentum import MomentumTeacher
from common.encoders.patches import POSITIONS, PatchEncoderName, fit_positions, patch_encoder
from common.encoders.text import Tokens
from common.encoders.word_fusion import FusionTextName, fusion_encoder
from common.errors import UserError
from common.losses import PlainTemperature, distilled_cross_entropy, momentum_contrast
from common.random import uniform
from common.sampling.masking import IGNORED, hide_tokens_by_sample
from common.sampling.mining import draw_hard_negatives
from common.sampling.queue import KeyQueue
from common.training.method import Method
from common.training.start import start_from

Loss = Literal["itc", "itm", "mlm"]
LOSSES: tuple[Loss, ...] = ("itc", "itm", "mlm")


class ALBEF(Method):
    """L = ITC + ITM + MLM: image-text contrast, image-text matching, and masked words given the picture (eq. 1 to 5).

    With a share a of momentum distillation, the targets of ITC and MLM are a times what the teacher says plus 1 - a
    times the truth (eq. 6 and 7; the same up to the teacher's entropy).

    Args:
        image_encoder, image_size, channels, image_weights: see `patch_encoder`.
        text_encoder, text_layers, text_weights, dropout, max_length: see `fusion_encoder`.
        embed_dim: width of the common space.
        losses: some of "itc", "itm" and "mlm". What only a loss that is left out would train stays as it is: the two
            projections and the temperature of ITC, the head of ITM, the fused layers without ITM and MLM.
        negatives: of ITM, "hard" (drawn in proportion to exp of the similarity) or "uniform" in the batch.
        distillation: a.
        smoothing: the teacher finds all candidates and words alike, so that a is spread evenly: a control.
        ramp_steps: over which a rises from 0; null for the first epoch.
        momentum: of the teacher, in [0, 1).
        queue_size: earlier pictures and texts that ITC meets.
        temperature, temperature_pace: of ITC at the start, and how fast it learns; see `PlainTemperature`.
        masked: share of the words that MLM hides.
        exchange: whom ITC and ITM meet on several processes besides the queue: all of the batch ("gather") or, as
            published, those of their own process ("local").
        start: checkpoint of an earlier training to go on from, at any `image_size`; the queues start empty.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range, or hard negatives are to be drawn without ITC.
    """

    contrastive = True

    def __init__(
        self,
        *,
        image_encoder: PatchEncoderName = "small_resnet",
        image_size: int = 48,
        channels: int = 16,
        image_weights: str | None = None,
        text_encoder: FusionTextName = "mini",
        text_layers: int = 1,
        text_weights: str | None = None,
        dropout: float = 0.1,
        max_length: int = 25,
        embed_dim: int = 64,
        losses: tuple[Loss, ...] = LOSSES,
        negatives: Literal["hard", "uniform"] = "hard",
        distillation: float = 0.4,
        smoothing: bool = False,
        ramp_steps: int | None = None,
        momentum: float = 0.995,
        queue_size: int = 1024,
        temperature: float = 0.07,
        temperature_pace: float = 1.0,
        masked: float = 0.15,
        exchange: Literal["gather", "local"] = "gather",
        start: str | None = None,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not losses or set(losses) - set(LOSSES):
            raise UserError(f"model.losses is {list(losses)}; it must hold some of {', '.join(LOSSES)}")
        if negatives == "hard" and "itm" in losses and "itc" not in losses:
            raise UserError("model.negatives is 'hard'; without itc there are no similarities to draw them by")
        if not 0 <= distillation <= 1 or not 0 <= momentum < 1 or not 0 < masked < 1:
            given = f"{distillation}, {momentum} and {masked}"
            raise UserError(f"model.distillation, momentum, masked are {given}; they must be in [0, 1], [0, 1), (0, 1)")
        image = patch_encoder(image_encoder, image_size, channels=channels, weights=image_weights)
        fusion = fusion_encoder(text_encoder, text_layers, image.width, dropout, max_length, text_weights)
        self.student = VisionLanguageEncoder(image, fusion, embed_dim, masked_lm="mlm" in losses)
        self.matcher = nn.Linear(fusion.width, 2)
        self.losses, self.mining, self.smoothing, self.exchange = tuple(losses), negatives, smoothing, exchange
        self.distillation, self.ramp_steps, self.momentum, self.masked = distillation, ramp_steps, momentum, masked
        self.temperature = PlainTemperature(temperature, pace=temperature_pace)
        for part in (self.student.image_projection, self.student.text_projection, self.temperature):
            part.requires_grad_("itc" in losses)
        self.matcher.requires_grad_("itm" in losses)
        for part in fusion.fusing():
            part.requires_grad_("itm" in losses or "mlm" in losses)
        self.teacher = MomentumTeacher(self.student)
        self.image_queue, self.text_queue = KeyQueue(queue_size, embed_dim), KeyQueue(queue_size, embed_dim)
        if start is not None:
            start_from(self, start, afresh=("image_queue", "text_queue"), resized={POSITIONS: fit_positions})

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        share, terms, keys = self.share(), {}, []
        layout = shards(len(batch.ids), batch.ids.device, self.exchange)
        ids = gather(batch.text_ids, layout)
        tokens = self.student.fusion.tokenize(batch.text)
        online = self.student(batch.pixels, tokens)
        taught = self.teacher(batch.views[-1], tokens) if "itc" in self.losses or share else None
        if "itc" in self.losses:
            keys = [gather(side.vector, layout) for side in taught]
            terms["itc"] = self.itc(online, taught, keys, batch.text_ids, ids, share)
        if "itm" in self.losses:
            terms["itm"] = self.itm(online, self.negatives(online, keys, batch, ids), layout)
        if "mlm" in self.losses:
            terms["mlm"] = self.mlm(tokens, online[0], taught[0] if share else None, batch.ids, share)
        return self.log_loss(sum(terms.values()), **terms)

    def share(self) -> float:
        """How much of the targets is the teacher's at this step."""
        ramp = self.trainer.num_training_batches if self.ramp_steps is None else self.ramp_steps
        return self.distillation * (1.0 if self.global_step >= ramp else self.global_step / ramp)

    def itc(self, online: Pair, taught: Pair, keys: list[Tensor], own_ids: Tensor, ids: Tensor, share: float) -> Tensor:
        """Each picture finds its text among the keys and the queue, each text its picture; then the queues move on."""
        key_ids = torch.cat([ids, self.text_queue.ids])
        given = dict(ids=own_ids, key_ids=key_ids, temperature=self.temperature(), alpha=share)
        images, texts = (torch.cat([k, q.keys]) for k, q in zip(keys, (self.image_queue, self.text_queue), strict=True))
        said = [side.vector * (not self.smoothing) for side in taught]
        to_text = momentum_contrast(online[0].vector, texts, said[0], **given)
        to_image = momentum_contrast(online[1].vector, images, said[1], **given)
        self.image_queue.enqueue(taught[0].vector, own_ids)
        self.text_queue.enqueue(taught[1].vector, own_ids)
        return (to_text + to_image) / 2

    def negatives(self, online: Pair, keys: list[Tensor], batch: ImageText, ids: Tensor) -> list[Tensor]:
        """Rows among all of the batch: another picture for each text, and another text for each picture."""
        positives = batch.text_ids[:, None] == ids
        likeness = [torch.zeros_like(positives, dtype=torch.float32)] * 2
        if self.mining == "hard":
            likeness = [online[1 - k].vector @ keys[k].T / self.temperature() for k in (0, 1)]
        draws = uniform(batch.ids, 2, *self.key("negatives")).unbind(1)
        return [draw_hard_negatives(x, positives, u) for x, u in zip(likeness, draws, strict=True)]

    def itm(self, online: Pair, negatives: list[Tensor], layout: Shards) -> Tensor:
        """Tells pairs that match from each text with another picture and each picture with another text."""
        states, right = self.student.fused_with_negatives(*online, *negatives, layout)
        return global_mean(F.cross_entropy(self.matcher(states), right.long(), reduction="none"))

    def mlm(self, tokens: Tokens, image: Encoded, taught: Encoded | None, ids: Tensor, share: float) -> Tensor:
        """Hidden words, given the picture; the teacher reads the same words hidden, and its own picture."""
        seen, targets = hide_tokens_by_sample(tokens, self.masked, self.student.fusion.text, ids, *self.key("masks"))
        asked, teacher = targets != IGNORED, None
        logits = self.student.token_logits(seen, image, asked)
        if taught is not None:
            with torch.no_grad():
                teacher = self.teacher.body.token_logits(seen, taught, asked) * (not self.smoothing)
        return global_mean(distilled_cross_entropy(logits, targets[asked], teacher, share))

    def follow(self) -> None:
        self.teacher.update(self.student, self.momentum)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.student.images(to_float(pixels)).vector

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.student.read(texts).vector

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        encoded = self.student.images(to_float(pixels)), self.student.read(texts)
        return self.matcher(self.student.fused_pairs(*encoded, pairs))[:, 1]
