"""Alignment and uniformity (Wang and Isola 2020): what the contrastive loss does in its limit, minimized as such."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import Images, LabelledVectors
from common.checks import check_number
from common.encoders.heads import Projected, ProjectionHead
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.losses import alignment, symmetric_info_nce, uniformity
from common.training.method import Method


class AlignUniform(Method):
    """The two views of a sample are drawn together, and all samples spread over the sphere.

    The loss is a weighted sum of `alignment`, of the mean of `uniformity` over the two views, each view by itself, and
    of the contrastive loss with the other samples of the batch for negatives, which is what the paper compares it with.

    Args:
        encoder: "vector_tower" for vectors, see `VectorTower`; for pictures a name that `image_encoder` knows, such as
            "small_alexnet".
        channels: entries of the vectors, or colour channels of the pictures.
        width: of the vector tower's hidden layer, or channels of the small network's first stage.
        image_size: side of the pictures, for an encoder that has to know it.
        projection_dim: width of the unit vectors that are compared.
        mlp: a hidden layer in the projection head; without it a linear map.
        align_weight, uniform_weight, contrast_weight: of the three losses; one of 0 is not computed.
        alpha: exponent of the distance between two views.
        t: sharpness of the potential between two samples.
        temperature: of the contrastive loss.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName | Literal["vector_tower"] = "vector_tower",
        channels: int = 10,
        width: int = 128,
        image_size: int = 32,
        projection_dim: int = 10,
        mlp: bool = True,
        align_weight: float = 1.0,
        uniform_weight: float = 1.0,
        contrast_weight: float = 0.0,
        alpha: float = 2.0,
        t: float = 2.0,
        temperature: float = 0.2,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.weights = {"alignment": align_weight, "uniformity": uniform_weight, "contrast": contrast_weight}
        for name, weight in zip(("align", "uniform", "contrast"), self.weights.values(), strict=True):
            check_number(f"model.{name}_weight", weight, least=0)
        if not any(self.weights.values()):
            raise UserError("model.align_weight, uniform_weight and contrast_weight are all 0; one must be above")
        check_number("model.alpha", alpha, above=0)
        check_number("model.t", t, above=0)
        vectors = encoder == "vector_tower"
        tower = VectorTower(channels, width) if vectors else image_encoder(encoder, channels, width, image_size)
        self.network = with_global_statistics(Projected(tower, projection_dim, ProjectionHead if mlp else nn.Linear))
        self.alpha, self.t, self.temperature = alpha, t, temperature

    def training_step(self, batch: Images | LabelledVectors, batch_idx: int) -> Tensor:
        # In one batch, so that a layer that normalizes it sees both views, as released.
        terms = self.terms(*self.network(torch.cat(batch.pair())).chunk(2))
        return self.log_loss(torch.stack([self.weights[name] * term for name, term in terms.items()]).sum(), **terms)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The losses whose weight is not 0, by name, of unit vectors of two views, (n, projection_dim) each."""
        losses = {
            "alignment": lambda: alignment(x, y, alpha=self.alpha),
            "uniformity": lambda: (uniformity(x, t=self.t) + uniformity(y, t=self.t)) / 2,
            "contrast": lambda: symmetric_info_nce(x, y, temperature=self.temperature),
        }
        return {name: loss() for name, loss in losses.items() if self.weights[name]}

    def embed_image(self, pixels: Tensor) -> Tensor:
        """What stands below the projection head."""
        return self.network.encoder(to_float(pixels))

    def embed_vectors(self, x: Tensor) -> Tensor:
        """The unit vectors themselves: on them the sphere is found again, or is not."""
        return self.network(x)
