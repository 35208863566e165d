"""Cross-entropy: the supervised baseline, with the same encoder, views and budget as what it is compared with."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images, LabelledVectors
from common.checks import check_classes, check_number
from common.distributed import global_mean
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.training.dropout import sample_dropout
from common.training.method import Method


class CrossEntropy(Method):
    """A linear classifier on the encoder, trained end to end; every augmented view is one labelled example.

    Another loss over the logits extends it by `losses` alone, another last layer by its own `classifier`.

    Args:
        classes: number of classes.
        encoder: "vector_tower" for vectors, see `VectorTower`; for pictures a name that `image_encoder` knows, such as
            "small_resnet" or "cifar_resnet50".
        channels: colour channels of the images, or entries of the vectors.
        width: channels of the small network's first stage, or of the vector tower's hidden layer.
        dropout: share of the encoder's features that are dropped before the classifier.
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et al. 2016, section 7).
        optimization: the arguments of `Method`.

    Raises:
        UserError: dropout or label smoothing is out of range.
    """

    added_later: ClassVar[dict[str, Any]] = {"dropout": 0.0, "label_smoothing": 0.0}

    def __init__(
        self,
        *,
        classes: int = 10,
        encoder: ImageEncoderName | Literal["vector_tower"] = "small_resnet",
        channels: int = 1,
        width: int = 16,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout is {dropout}; it must be in [0, 1)")
        check_number("model.label_smoothing", label_smoothing, least=0, most=1)
        vectors = encoder == "vector_tower"
        tower = VectorTower(channels, width) if vectors else image_encoder(encoder, channels, width)
        self.encoder = with_global_statistics(tower)
        self.classifier = nn.Linear(self.encoder.output_dim, classes)
        self.dropout = dropout
        self.label_smoothing = label_smoothing

    def training_step(self, batch: Images | LabelledVectors, batch_idx: int) -> Tensor:
        features = self.encoder(batch.views.flatten(0, 1))
        features = sample_dropout(features, self.dropout, batch.ids, *self.key("dropout"))
        labels = batch.labels.repeat(len(batch.views))  # views are stacked whole, one after the other
        self.check_classes(labels, batch_idx)
        return self.log_loss(global_mean(self.losses(self.classifier(features), labels)))

    def check_classes(self, labels: Tensor, batch_idx: int) -> None:
        """Raises: UserError if a label has no logit; on a GPU, which would have to wait, in the first batch alone."""
        if not (labels.is_cuda and batch_idx):
            check_classes(labels, self.classifier.out_features)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One loss for each row of the logits, (n, classes), whose classes are `labels`, (n,)."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder(to_float(pixels))

    def classify_image(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.embed_image(pixels))

    def embed_vectors(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def classify_vectors(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed_vectors(x))
