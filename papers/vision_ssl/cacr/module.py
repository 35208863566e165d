"""CACR (Zheng et al. 2023): positives contrasted among themselves, and negatives among themselves."""

from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.encoders.heads import Projected, ProjectionHead
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import attraction_repulsion
from common.training.method import Method


class CACR(Method):
    """A view is pulled most to its farthest positive and pushed most from its nearest negative.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "small_alexnet".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of the projections that the loss compares.
        mlp: a projection head with a hidden layer; without it a linear map.
        attraction: t+ of the paper, in units of the inverse squared distance; 0 weighs all positives alike.
        repulsion: t- of the paper; 0 weighs all negatives alike.
        detached: no gradient through the weights, as in the released code with a momentum encoder; that for small
            pictures has one.
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
        mlp: bool = True,
        attraction: float = 1.0,
        repulsion: float = 2.0,
        detached: bool = False,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.attraction", attraction, least=0)
        check_number("model.repulsion", repulsion, least=0)
        head = ProjectionHead if mlp else nn.Linear
        self.network = with_global_statistics(Projected(image_encoder(encoder, channels, width), projection_dim, head))
        self.attraction, self.repulsion, self.detached = attraction, repulsion, detached

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        batch.pair()  # says if there is but one
        views = self.network(batch.views.flatten(0, 1)).unflatten(0, (len(batch.views), -1)).transpose(0, 1)
        sharpness = {"attraction": self.attraction, "repulsion": self.repulsion}
        return self.log_loss(attraction_repulsion(views, **sharpness, detached=self.detached))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
