"""ALBEF (Li et al. 2021): align pictures and texts before fusing them, and learn from a momentum copy of the model."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.distributed import Exchange, gather, global_mean, shards
from common.encoders.fusion import Encoded, FusionEncoder, FusionName, VisionLanguageEncoder
from common.encoders.image import to_float
from common.encoders.momentum import MomentumTeacher
from common.encoders.patches import PatchEncoderName, patch_encoder
from common.encoders.text import Tokens
from common.errors import UserError
from common.losses import PlainTemperature, distilled, same_id, soft_target_cross_entropy
from common.random import uniform
from common.sampling.masking import IGNORED, hide_tokens
from common.sampling.mining import draw_hard_negatives
from common.sampling.queue import KeyQueue
from common.scores import Scores
from common.training.method import Method


Pair = tuple[Encoded, Encoded]
"""The pictures and the texts of a batch."""


class Keys(NamedTuple):
    """What the teacher makes of the batch, on all processes that take part, behind which the queues stand."""

    image: Tensor
    """Unit vectors, (n, e)."""
    text: Tensor
    ids: Tensor
    """Of what the captions say, (n,)."""


class ALBEF(Method):
    """L = ITC + ITM + MLM: image-text contrast, image-text matching, and masked words given the picture (eq. 1 to 5).

    With a share a of momentum distillation, the targets of ITC and MLM are a times what the teacher says plus 1 - a
    times the truth (eq. 6 and 7; the same up to the teacher's entropy).

    Args:
        image_encoder, image_size, channels, image_weights: see `patch_encoder`; its width is the text's.
        text_encoder, text_layers, text_weights, dropout, max_length: see `FusionEncoder`.
        pretrained: the text starts from its encoder's weights.
        embed_dim: width of the common space.
        itc: with image-text contrast; without it the two projections and the temperature stay as they are.
        mlm: with masked words.
        negatives: of ITM, "hard" (drawn in proportion to exp of the similarity) or "uniform" in the batch.
        distillation: a.
        ramp_steps: over which a rises from 0; null for the first epoch.
        momentum: of the teacher, in [0, 1).
        queue_size: earlier pictures and texts that ITC meets.
        temperature: of ITC, at the start; kept in [0.001, 0.5].
        masked: share of the words that MLM hides.
        exchange: whom ITC and ITM meet on several processes besides the queue: all of the batch ("gather") or, as
            published, those of their own process ("local").
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range, or hard negatives are to be drawn without ITC.
    """

    contrastive = True

    def __init__(
        self,
        image_encoder: PatchEncoderName = "small_resnet",
        image_size: int = 48,
        channels: int = 16,
        image_weights: str | None = None,
        text_encoder: FusionName = "mini",
        text_layers: int = 1,
        text_weights: str | None = None,
        pretrained: bool = True,
        dropout: float = 0.1,
        max_length: int = 25,
        embed_dim: int = 64,
        itc: bool = True,
        mlm: bool = True,
        negatives: Literal["hard", "uniform"] = "hard",
        distillation: float = 0.4,
        ramp_steps: int | None = None,
        momentum: float = 0.995,
        queue_size: int = 1024,
        temperature: float = 0.07,
        masked: float = 0.15,
        exchange: Literal["gather", "local"] = "gather",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if negatives == "hard" and not itc:
            raise UserError("model.negatives is 'hard'; without model.itc there are no similarities to draw them by")
        if not 0 <= distillation <= 1 or not 0 <= momentum < 1 or not 0 < masked < 1:
            given = f"{distillation}, {momentum} and {masked}"
            raise UserError(f"model.distillation, momentum, masked are {given}; they must be in [0, 1], [0, 1), (0, 1)")
        image = patch_encoder(image_encoder, image_size, channels=channels, weights=image_weights)
        fusion = FusionEncoder(
            text_encoder, text_layers, image.width, dropout, max_length, weights=text_weights, pretrained=pretrained
        )
        self.student = VisionLanguageEncoder(image, fusion, embed_dim, masked_lm=mlm)
        self.matcher = nn.Linear(fusion.width, 2)
        self.temperature = PlainTemperature(temperature)
        if not itc:
            for part in (self.student.image_projection, self.student.text_projection, self.temperature):
                part.requires_grad_(False)
        self.teacher = MomentumTeacher(self.student)
        self.with_itc = itc
        self.negatives = negatives
        self.distillation = distillation
        self.ramp_steps = ramp_steps
        self.momentum = momentum
        self.masked = masked
        self.exchange = Exchange(exchange)
        self.image_queue, self.text_queue = KeyQueue(queue_size, embed_dim), KeyQueue(queue_size, embed_dim)

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        share, terms, likeness = self.share(), {}, None
        tokens = self.student.fusion.text.tokenize(batch.text)
        online = self.student(batch.pixels, tokens)
        taught = self.teacher(batch.pixels, tokens) if self.with_itc or share else None
        if self.with_itc:
            keys = self.keys(taught, batch.text_ids)
            terms["itc"] = self.itc(online, taught, keys, batch.text_ids, share)
            likeness = self.likeness(online, keys)
        terms["itm"] = self.itm(online, likeness, batch)
        if self.student.head is not None:
            terms["mlm"] = self.mlm(tokens, online[0], taught[0] if share else None, batch.ids, share)
        return self.log_loss(sum(terms.values()), **terms)

    def share(self) -> float:
        """How much of the targets is the teacher's at this step."""
        ramp = self.trainer.num_training_batches if self.ramp_steps is None else self.ramp_steps
        return self.distillation * (1.0 if self.global_step >= ramp else self.global_step / ramp)

    def keys(self, taught: Pair, ids: Tensor) -> Keys:
        """The teacher's vectors of the batch, of all processes or, if `exchange` is local, of this one."""
        layout = shards(len(ids), ids.device, self.exchange)
        return Keys(*(gather(side.vector, layout) for side in taught), gather(ids, layout))

    def itc(self, online: Pair, taught: Pair, keys: Keys, ids: Tensor, share: float) -> Tensor:
        """Each picture finds its text among the keys and the queue, each text its picture; then the queues move on."""
        temperature = self.temperature()
        key_ids = torch.cat([keys.ids, self.text_queue.ids])
        losses = [
            momentum_contrast(
                query.vector,
                torch.cat([key, queue.keys]),
                teacher_query.vector,
                ids=ids,
                key_ids=key_ids,
                temperature=temperature,
                share=share,
            )
            for query, teacher_query, key, queue in (
                (online[0], taught[0], keys.text, self.text_queue),
                (online[1], taught[1], keys.image, self.image_queue),
            )
        ]
        self.image_queue.enqueue(taught[0].vector, ids)
        self.text_queue.enqueue(taught[1].vector, ids)
        return (losses[0] + losses[1]) / 2

    def likeness(self, online: Pair, keys: Keys) -> tuple[Tensor, Tensor]:
        """Cosines over the temperature, (b, n): of texts with the batch's pictures, of pictures with its texts."""
        image, text = (side.vector.detach() for side in online)
        scale = 1 / self.temperature().detach()
        return scale * text @ keys.image.T, scale * image @ keys.text.T

    def itm(self, online: Pair, likeness: tuple[Tensor, Tensor] | None, batch: ImageText) -> Tensor:
        """Pairs that match against each text with another picture and each picture with another text."""
        layout = shards(len(batch.ids), batch.ids.device, self.exchange)
        ids = gather(batch.text_ids, layout)
        positives = batch.text_ids[:, None] == ids
        if self.negatives == "uniform" or likeness is None:
            likeness = (torch.zeros_like(positives, dtype=torch.float32),) * 2
        draws = uniform(batch.ids, 2, *self.key(), 0).unbind(1)
        image, text = (draw_hard_negatives(x, positives, u) for x, u in zip(likeness, draws, strict=True))
        own = torch.arange(len(ids), device=ids.device)[layout.own]
        images, texts = (side.gathered(layout) for side in online)
        fused = self.student.fused(images.rows(torch.cat([own, image, own])), texts.rows(torch.cat([own, own, text])))
        labels = torch.cat([torch.ones_like(own), torch.zeros_like(own), torch.zeros_like(own)])
        return global_mean(F.cross_entropy(self.matcher(fused), labels, reduction="none"))

    def mlm(self, tokens: Tokens, image: Encoded, taught: Encoded | None, ids: Tensor, share: float) -> Tensor:
        """Hidden words, given the picture; the teacher reads the same words hidden, and its own picture."""
        fusion = self.student.fusion
        # Draw by draw along the text, so that a word's do not depend on how far the batch is padded.
        chance, other = uniform(ids, 2 * tokens.ids.shape[1], *self.key(), 1).unflatten(1, (-1, 2)).unbind(2)
        other = (other * fusion.vocab_size).long()
        seen, targets = hide_tokens(tokens, self.masked, chance, other, fusion.text.mask_id, fusion.text.special_ids)
        asked = targets != IGNORED
        logits, targets = self.student.token_logits(seen, image, asked), targets[asked]
        if share:
            with torch.no_grad():
                soft = self.teacher.body.token_logits(seen, taught, asked).softmax(dim=1)
            targets = share * soft + (1 - share) * F.one_hot(targets, fusion.vocab_size)
        return global_mean(F.cross_entropy(logits, targets, reduction="none"))

    def key(self) -> tuple[int, int]:
        """Of random numbers that belong to a sample and a step, the same on any number of processes."""
        return torch.initial_seed() % (1 << 63), self.global_step

    def optimizer_step(self, *arguments, **keywords) -> None:
        super().optimizer_step(*arguments, **keywords)
        self.teacher.update(self.student, self.momentum)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.student.images(to_float(pixels)).vector

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.encode_text(texts).vector

    def encode_text(self, texts: list[str]) -> Encoded:
        """Texts at full length: `max_length` is for training alone."""
        text = self.student.fusion.text
        return self.student.texts(text.tokenize(texts, text.positions))

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        images, encoded = self.student.images(to_float(pixels)), self.encode_text(texts)
        # Part by part: a pair carries a copy of its picture's states.
        fused = [self.student.fused(images.rows(part[:, 0]), encoded.rows(part[:, 1])) for part in pairs.split(256)]
        return self.matcher(torch.cat(fused))[:, 1]


def momentum_contrast(
    query: Tensor,
    key: Tensor,
    teacher_query: Tensor,
    *,
    ids: Tensor,
    key_ids: Tensor,
    temperature: Tensor,
    share: float,
) -> Tensor:
    """One direction of ITC: the cross-entropy against `share` of the teacher's softmax and the rest of the truth (eq. 6).

    Args:
        query: unit vectors of the student, (m, e).
        key: those of the teacher for all candidates, without gradient, (n, e).
        teacher_query: of the teacher, (m, e).
        ids, key_ids: equal where a candidate is right, int64 (m,) and (n,).
        temperature: 0-d.
        share: of the teacher, in [0, 1].
    """
    scores = Scores(query, key, scale=1 / temperature, exchange=Exchange.LOCAL)
    targets = same_id(scores, ids, key_ids)
    if share:
        teacher = Scores(teacher_query, key, scale=1 / temperature.detach(), exchange=Exchange.LOCAL)
        targets = distilled(teacher, targets, share)
    return soft_target_cross_entropy(scores, targets)
