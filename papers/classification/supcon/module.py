"""Supervised Contrastive Learning (Khosla et al. 2020): every view of the same class is a positive."""

from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from common.batches import Images
from common.encoders.heads import Projected, ProjectionHead, normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import sup_con
from common.training.method import Method


class SupCon(Method):
    """Labels choose the positives in SimCLR's batch; all other views stay in the denominator (eq. 2 and 3).

    Batch normalization, if encoder or head has any, goes by the whole batch on all processes.

    Args:
        encoder: a name that `image_encoder` knows, such as "small_resnet" or "cifar_resnet50".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of the projections that the loss compares.
        normalized_head: batch normalization inside of the projection head.
        temperature: divides the cosine similarities. The released code also multiplies the loss by temperature / 0.07,
            which is left out: SGD does the same at that many times the rate and so much less decay.
        positives: whether the mean over the positives stands "out"side the logarithm (eq. 2) or "in"side (eq. 3).
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
        temperature: float = 0.1,
        positives: Literal["out", "in"] = "out",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        network = image_encoder(encoder, channels, width)
        head = partial(normalized_mlp, network.output_dim) if normalized_head else ProjectionHead
        self.network = with_global_statistics(Projected(network, projection_dim, head))
        self.temperature = temperature
        self.positives = positives

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        embeddings = self.network(batch.views.flatten(0, 1))
        labels = batch.labels.repeat(len(batch.views))  # views are stacked whole, one after the other
        return self.log_loss(sup_con(embeddings, labels, temperature=self.temperature, positives=self.positives))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
