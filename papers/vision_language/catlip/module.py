"""CatLIP (Mehta et al. 2024): a picture tower tells which of many nouns a caption holds; no text tower, no pairs."""

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.distributed import global_mean
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.losses.precision import at_least_float32
from common.training.method import Method


class CatLIP(Method):
    """A linear classifier over the nouns of captions, each of them yes or no (section 3.2).

    No term compares samples of a batch. A picture whose caption holds none of the nouns is a negative of all.

    Args:
        labels: number of nouns k; the first k columns of `ImageText.concepts`.
        encoder, channels, width, image_size: of the picture tower, see `image_encoder`.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        labels: int = 48,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 3,
        width: int = 16,
        image_size: int = 32,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.encoder = with_global_statistics(image_encoder(encoder, channels, width, image_size))
        self.classifier = nn.Linear(self.encoder.output_dim, labels)

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        labels, told = self.classifier.out_features, batch.concepts
        if told is None or told.shape[1] < labels:
            there = 0 if told is None else told.shape[1]
            raise UserError(f"model.labels is {labels}; the data tells {there} concepts of each caption")
        return self.log_loss(self.classify(self.classifier(self.encoder(batch.pixels)), told[:, :labels]))

    @staticmethod
    def classify(logits: Tensor, told: Tensor) -> Tensor:
        """Binary cross-entropy, summed over the nouns: their mean would be thousands of times smaller.

        Args:
            logits: shape (n, k).
            told: which nouns each caption holds, bool (n, k).

        Returns:
            The mean over the pictures of all processes.
        """
        logits = at_least_float32(logits)
        terms = F.binary_cross_entropy_with_logits(logits, told.to(logits.dtype), reduction="none")
        return global_mean(terms.sum(dim=1))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder(to_float(pixels))
