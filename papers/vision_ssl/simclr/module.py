"""SimCLR (Chen et al. 2020): the other view of an image is its only positive."""

from functools import partial
from typing import ClassVar

from torch import Tensor

from common.batches import Images
from common.encoders.heads import Projected, ProjectionHead, normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import nt_xent
from common.training.method import Method


class SimCLR(Method):
    """Each view must find the other view of its image among the 2N - 1 other views of the batch (eq. 1).

    Batch normalization, if encoder or head has any, goes by the whole batch on all processes.

    Args:
        encoder: a name that `image_encoder` knows, such as "small_resnet" or "cifar_resnet50".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of the projections that the loss compares.
        normalized_head: batch normalization inside of the projection head.
        temperature: divides the cosine similarities.
        optimization: the arguments of `Method`.
    """

    contrastive = True
    added_later: ClassVar = {"normalized_head": False}

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 1,
        width: int = 16,
        projection_dim: int = 64,
        normalized_head: bool = False,
        temperature: float = 0.5,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        network = image_encoder(encoder, channels, width)
        head = partial(normalized_mlp, network.output_dim) if normalized_head else ProjectionHead
        self.network = with_global_statistics(Projected(network, projection_dim, head))
        self.temperature = temperature

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = self.network(batch.views.flatten(0, 1)).chunk(2)
        return self.log_loss(nt_xent(view_a, view_b, temperature=self.temperature))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
