"""CLIP (Radford et al. 2021): each picture finds its caption among those of the batch, and each caption its picture."""

from typing import Any, ClassVar

from torch import Tensor

from common.batches import ImageText
from common.encoders.dual import DualEncoder, TextTowerName
from common.encoders.image import ImageEncoderName, to_float
from common.encoders.text_tower import TokenizerName
from common.errors import UserError
from common.losses import LearnableTemperature, symmetric_info_nce
from common.training.grad_cache import cached_forward
from common.training.method import Method


class CLIP(Method):
    """A picture tower and a text tower under the symmetric InfoNCE loss with a learnt temperature (figure 3).

    Args:
        image_encoder, text_encoder: names of the towers, see `DualEncoder`.
        embed_dim: width of the common space.
        channels, width, image_size: of the image tower.
        text_length, tokenizer: of the text tower.
        temperature: what it starts at; kept above 0.01, so that no logit exceeds 100.
        chunk_size: pictures and texts embedded at a time; null embeds all at once. The gradient is the same.
        scalar_lr: factor on the learning rate of the temperature. AdamW moves a number by about the rate a step, so in
            a few hundred steps it would hardly get anywhere.
        beta2: of AdamW, how slowly its second moment forgets.
        label_smoothing: share of the target that is spread evenly over the batch. CLIP has none; it is a control of
            methods that soften targets by something.
        optimization: the arguments of `Method`.

    Raises:
        UserError: label smoothing for a method with a loss of its own, which has none.
    """

    contrastive = True
    added_later: ClassVar[dict[str, Any]] = {"label_smoothing": 0.0}

    def __init__(
        self,
        *,
        image_encoder: ImageEncoderName = "small_resnet",
        text_encoder: TextTowerName = "mini",
        embed_dim: int = 64,
        channels: int = 3,
        width: int = 16,
        image_size: int = 32,
        text_length: int = 16,
        tokenizer: TokenizerName = "wordpiece",
        temperature: float = 0.07,
        chunk_size: int | None = None,
        scalar_lr: float = 1.0,
        beta2: float = 0.98,
        label_smoothing: float = 0.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if label_smoothing and type(self).contrast is not CLIP.contrast:
            raise UserError(f"model.label_smoothing is {label_smoothing}; {type(self).__name__} has none, it must be 0")
        self.encoder = DualEncoder(
            image_encoder, text_encoder, embed_dim, channels, width, image_size, text_length, tokenizer
        )
        self.temperature = LearnableTemperature(temperature)
        self.chunk_size = chunk_size
        self.scalar_lr = scalar_lr
        self.beta2 = beta2
        self.label_smoothing = label_smoothing

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        image = cached_forward(self.encoder.images, batch.pixels, self.chunk_size)
        text = cached_forward(self.encoder.texts, batch.text, self.chunk_size)
        return self.log_loss(self.contrast(image, text))

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        """The loss of unit vectors (n, e), row by row pairs."""
        return symmetric_info_nce(image, text, temperature=self.temperature(), label_smoothing=self.label_smoothing)

    def parameter_groups(self) -> list[dict]:
        groups = [g | {"params": [p for p in g["params"] if p.ndim]} for g in super().parameter_groups()]
        scalars = [p for p in self.parameters() if p.ndim == 0]
        groups.append({"params": scalars, "weight_decay": 0.0, "lr": self.lr * self.scalar_lr})
        return [g | {"betas": (0.9, self.beta2)} for g in groups]

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder.embed_image(pixels)

    def image_features(self, pixels: Tensor) -> Tensor:
        """What the picture tower makes of them, below the map into the common space."""
        return self.encoder.image(to_float(pixels))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.encoder.texts(texts)
