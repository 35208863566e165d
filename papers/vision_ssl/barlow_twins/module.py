"""Barlow Twins (Zbontar et al. 2021): dimensions that agree between views and tell different things."""

from torch import Tensor, nn

from common.batches import Images
from common.encoders.heads import normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import barlow_twins
from common.training.method import Method


class BarlowTwins(Method):
    """The cross-correlation of the projections of two views is drawn to the identity (eq. 1).

    Batch normalization, of which there is some in the projector under any encoder, goes by the whole batch on all
    processes.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        hidden_dim: width of the projector's two hidden layers.
        projection_dim: width of the projections, the larger the better.
        redundancy: weight of what different dimensions have in common, lambda.
        scale: of the whole loss.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        hidden_dim: int = 256,
        projection_dim: int = 256,
        redundancy: float = 0.0051,
        scale: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        tower = image_encoder(encoder, channels, width)
        projector = normalized_mlp(tower.output_dim, hidden_dim, hidden_dim, projection_dim)
        self.network = with_global_statistics(nn.Sequential(tower, projector))
        self.redundancy, self.scale = redundancy, scale

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        # One view after the other: each is normalized by its own statistics.
        view_a, view_b = map(self.network, batch.pair())
        return self.log_loss(self.scale * barlow_twins(view_a, view_b, weight=self.redundancy))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network[0](to_float(pixels))
