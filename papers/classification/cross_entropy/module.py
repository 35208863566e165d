"""Cross-entropy: the supervised baseline, with the same encoder, views and budget as the contrastive methods."""

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.training.method import Method


class CrossEntropy(Method):
    """A linear classifier on the encoder, trained end to end; every augmented view is one labelled example.

    Args:
        classes: number of classes.
        encoder: a name that `image_encoder` knows, such as "small_resnet" or "cifar_resnet50".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 1,
        width: int = 16,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.encoder = image_encoder(encoder, channels, width)
        self.classifier = nn.Linear(self.encoder.output_dim, classes)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        logits = self.classifier(self.encoder(batch.views.flatten(0, 1)))
        return self.log_loss(F.cross_entropy(logits, batch.labels.repeat(len(batch.views))))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder(to_float(pixels))

    def classify_image(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.embed_image(pixels))
