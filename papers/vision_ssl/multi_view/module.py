"""Multi-view InfoNCE: each view of an image finds its other views, with the negatives in the batch."""

from typing import Literal

from torch import Tensor

from common.batches import Images
from common.encoders.heads import Projected
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import multi_view_info_nce
from common.training.method import Method


class MultiView(Method):
    """InfoNCE in both directions, summed over pairs of views: CMC (Tian et al. 2020) in the batch, with one encoder.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of the projections that the loss compares.
        temperature: divides the cosine similarities.
        graph: "full", all pairs of views, or "core", the first view with each of the others.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        projection_dim: int = 64,
        temperature: float = 0.2,
        graph: Literal["full", "core"] = "full",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.network = with_global_statistics(Projected(image_encoder(encoder, channels, width), projection_dim))
        self.temperature, self.graph = temperature, graph

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        batch.pair()  # says if there is but one
        views = self.network(batch.views.flatten(0, 1)).unflatten(0, (len(batch.views), -1)).transpose(0, 1)
        return self.log_loss(multi_view_info_nce(views, temperature=self.temperature, graph=self.graph))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
