"""MoCo (He et al. 2020; v2, Chen et al. 2020): negatives from a queue of keys that a momentum encoder made."""

from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.encoders.heads import Projected, ProjectionHead
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.momentum import MomentumTeacher
from common.encoders.norms import encode_shuffled, with_split_statistics
from common.losses import queue_info_nce
from common.sampling.queue import KeyQueue
from common.training.method import Method


class MoCo(Method):
    """The query of a view must tell the key of its image's other view from the keys of earlier batches (eq. 1).

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of queries and keys.
        mlp: the projection head of v2; without it that of v1, a linear map.
        queue_size: keys of earlier batches that a query meets.
        momentum: of the key encoder, in [0, 1].
        temperature: divides the cosine similarities.
        symmetric: each view is once the query and once the key, and the two losses are summed.
        norm_parts: parts of a batch that are normalized apart, if the encoder normalizes batches, as the published one
            does on so many GPUs. Keys are in other parts than their queries, which could else be told by them.
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
        queue_size: int = 4096,
        momentum: float = 0.99,
        temperature: float = 0.2,
        symmetric: bool = False,
        norm_parts: int = 8,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.momentum", momentum, least=0, most=1)
        check_number("model.norm_parts", norm_parts, least=1)
        head = ProjectionHead if mlp else nn.Linear
        network = Projected(image_encoder(encoder, channels, width), projection_dim, head)
        self.network = with_split_statistics(network, norm_parts)
        self.teacher = MomentumTeacher(self.network, statistics="own")
        self.queue = KeyQueue(queue_size, projection_dim)
        self.momentum, self.temperature, self.symmetric = momentum, temperature, symmetric

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = batch.pair()
        loss, new = self.contrast(view_a, view_b, "b")
        news = [new]
        if self.symmetric:
            swapped, new = self.contrast(view_b, view_a, "a")
            loss, news = loss + swapped, [new, *news]
        for keys in news:
            self.queue.enqueue(keys, batch.ids)
        return self.log_loss(loss)

    def contrast(self, queries: Tensor, keys: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """The loss of one view as queries, and the keys of the other, (n, projection_dim)."""
        key = self.encoded_keys(keys, name)
        return queue_info_nce(self.network(queries), key, self.queue.keys, temperature=self.temperature), key

    def encoded_keys(self, view: Tensor, name: str) -> Tensor:
        """The momentum encoder's unit vectors of a view, (n, projection_dim), in the order of its images."""
        return encode_shuffled(self.teacher, view, *self.key(f"shuffled view {name}"))

    def follow(self) -> None:
        self.teacher.update(self.network, self.momentum)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
