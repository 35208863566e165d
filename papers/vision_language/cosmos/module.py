"""COSMOS (Kim et al. 2025): crops of pictures and of captions learn from an averaged teacher that sees the whole."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_number
from common.encoders.captioner import NormedAttention
from common.encoders.momentum import MomentumTeacher
from common.errors import UserError
from common.losses import LearnableTemperature, cross_view_info_nce
from papers.vision_language.clip.module import CLIP


class Side(NamedTuple):
    """What the student makes of one side of n pairs, pictures or captions, in v views, the global ones first."""

    vectors: Tensor
    """Before they are normalized, (n, v, e)."""
    states: Tensor
    """Of the first view's places or words, (n, t, d)."""
    padding: Tensor | None
    """Which of these stand for nothing, bool (n, t)."""


class CrossAttention(NormedAttention):
    """What a view finds among the states of the other side is added to its vector.

    Args:
        states: width of the states.
        width, heads: as in `NormedAttention`.
    """

    def __init__(self, states: int, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.map = nn.Linear(states, width)

    def forward(self, own: Side, other: Side) -> Tensor:
        """Vectors (n, v, e), not normalized, of the views of `own`."""
        return own.vectors + self.attend(own.vectors, self.map(other.states), other.padding)


class COSMOS(CLIP):
    """CLIP's loss between global crops and all captions, and that between all views and what the teacher sees.

    A sample has g global views of the picture, `ImageText.views`, and small ones, `ImageText.local`. The first g of
    `ImageText.text_views` are its global captions, the others small ones; without any there is the caption alone. The
    teacher sees the global ones. Scored are the student's towers, without the attention.

    Args:
        distillation: "cross", views look at the first global view of the other side before they meet the teacher;
            "plain", they meet it as they are; "none", multi-view CLIP, to which small crops of pictures say nothing.
        weight: of the distillation.
        heads: of the attention.
        momentum: of the teacher, in [0, 1].
        distill_temperature: of the distillation at the start, learnt by itself; kept from 0.01 to 1.
        clip: the other arguments of `CLIP`.

    Raises:
        UserError: an argument is out of range, a tower without states, or a `chunk_size`.
    """

    def __init__(
        self,
        *,
        distillation: Literal["cross", "plain", "none"] = "cross",
        weight: float = 1.0,
        heads: int = 8,
        momentum: float = 0.99,
        distill_temperature: float = 0.07,
        **clip,
    ) -> None:
        super().__init__(**clip)
        if distillation not in ("cross", "plain", "none"):
            raise UserError(f"model.distillation is {distillation!r}; it must be 'cross', 'plain' or 'none'")
        check_number("model.momentum", momentum, least=0, most=1)
        check_number("model.weight", weight, least=0)
        if self.chunk_size is not None:
            raise UserError("model.chunk_size must be null: views meet each other and the teacher")
        widths, dim = self.encoder.state_dims(), clip.get("embed_dim", 64)
        self.weight, self.momentum = weight, momentum
        self.look_at_text = self.look_at_image = self.teacher = None
        if distillation == "cross":
            self.look_at_image, self.look_at_text = (CrossAttention(width, dim, heads) for width in widths)
        if distillation != "none":
            self.distill_temperature = LearnableTemperature(distill_temperature, maximum=1.0)
            self.teacher = MomentumTeacher(self.encoder)

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        captions, n, count = list(batch.text_views) or [batch.text], len(batch.ids), len(batch.views)
        if len(captions) < count:
            raise UserError(f"data.views is {count}, data.text_views {len(captions)}; a global caption for each view")
        pixels, texts = batch.views.flatten(0, 1), [text for view in captions[:count] for text in view]
        small = [text for view in captions[count:] for text in view]
        image, text = self.encoder.read_images(pixels), self.encoder.read_texts(texts)
        images, said = [image.vector], [text.vector]
        # Without a teacher the small crops are in no loss.
        if batch.local is not None and self.teacher is not None:
            images.append(self.encoder.read_images(batch.local.flatten(0, 1)).vector)
        if small:
            said.append(self.encoder.read_texts(small).vector)
        student = (
            Side(_by_sample(images, n), image.states[:n], None),
            Side(_by_sample(said, n), text.states[:n], None if text.padding is None else text.padding[:n]),
        )
        contrast = self.global_contrast(*student, count)
        if self.teacher is None:
            return self.log_loss(contrast)
        with torch.no_grad():
            taught = [_by_sample([x], n) for x in (self.teacher.body.images(pixels), self.teacher.body.texts(texts))]
        distilled = self.distill(*student, *taught)
        return self.log_loss(contrast + self.weight * distilled, contrast=contrast, distillation=distilled)

    def global_contrast(self, image: Side, text: Side, count: int) -> Tensor:
        """The first `count` views of the pictures, the global ones, against all captions."""
        sides = (F.normalize(x, dim=-1) for x in (image.vectors[:, :count], text.vectors))
        return cross_view_info_nce(*sides, temperature=self.temperature(), label_smoothing=self.label_smoothing)

    def distill(self, image: Side, text: Side, image_taught: Tensor, text_taught: Tensor) -> Tensor:
        """All views of either side against the teacher's unit vectors (n, g, e) of either side, the mean of four."""
        views, temperature = [image.vectors, text.vectors], self.distill_temperature()
        if self.look_at_text is not None:
            views = [self.look_at_text(image, text), self.look_at_image(text, image)]
        pairs = [(F.normalize(x, dim=-1), taught) for x in views for taught in (image_taught, text_taught)]
        return torch.stack([cross_view_info_nce(*pair, temperature=temperature) for pair in pairs]).mean()

    def follow(self) -> None:
        if self.teacher is not None:
            self.teacher.update(self.encoder, self.momentum)


def _by_sample(parts: list[Tensor], n: int) -> Tensor:
    """Rows view by view, n of each, as (n, views, e)."""
    return torch.cat(parts).unflatten(0, (-1, n)).transpose(0, 1)
