"""BYOL (Grill et al. 2020): predict what a momentum encoder makes of the other view; no negatives."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.checks import check_number
from common.encoders.heads import normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.momentum import MomentumTeacher, cosine_decay
from common.encoders.norms import with_global_statistics
from common.losses import alignment
from common.training.method import Method


class BYOL(Method):
    """From its projection of each view the student predicts the teacher's projection of the other (eq. 2).

    Batch normalization, of which there is some in the heads of any encoder, goes by the whole batch on all processes.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        hidden_dim: hidden width of projector and predictor.
        projection_dim: width of what is predicted.
        momentum: of the teacher at the first step; it goes to `final_momentum` along half a cosine.
        final_momentum: at the end of the training; the published one is 1.
        optimization: the arguments of `Method`.
    """

    added_later: ClassVar = {"final_momentum": 1.0}

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        hidden_dim: int = 256,
        projection_dim: int = 64,
        momentum: float = 0.99,
        final_momentum: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.momentum", momentum, least=0, most=1)
        check_number("model.final_momentum", final_momentum, least=0, most=1)
        tower = image_encoder(encoder, channels, width)
        projector = normalized_mlp(tower.output_dim, hidden_dim, projection_dim)
        self.student = with_global_statistics(nn.Sequential(tower, projector))
        self.predictor = with_global_statistics(normalized_mlp(projection_dim, hidden_dim, projection_dim))
        self.teacher = MomentumTeacher(self.student, statistics="own")
        self.momentum, self.final_momentum = momentum, final_momentum

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        # One view after the other: each is normalized by its own statistics.
        predicted = [F.normalize(self.predictor(self.student(view)), dim=-1) for view in batch.pair()]
        target = [F.normalize(self.teacher(view), dim=-1) for view in batch.pair()]
        # What tells a collapse: 1 / sqrt(projection_dim) where the targets fill the sphere, 0 where all are one.
        self.log("train/target_deviation", target[0].std(dim=0).mean(), batch_size=1)
        ways = (predicted[0], target[1], batch, "a"), (predicted[1], target[0], batch, "b")
        return self.log_loss(self.agreement(*ways[0]) + self.agreement(*ways[1]))

    def agreement(self, predicted: Tensor, target: Tensor, batch: Images, view: str) -> Tensor:
        """The loss of the predictions from the named view and the targets of the other, unit vectors (n, d)."""
        return alignment(predicted, target)

    def follow(self) -> None:
        total = self.trainer.estimated_stepping_batches
        decay = cosine_decay(self.momentum, self.final_momentum, self.global_step, total)
        self.teacher.update(self.student, decay)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.student[0](to_float(pixels))
