"""Sample4Geo (Deuser et al. 2023): who shares a batch decides; the loss is symmetric InfoNCE."""

from torch import Tensor
from torch.nn import functional as F

from common.batches import CrossViews
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import symmetric_info_nce
from common.losses.temperature import LearnableTemperature
from common.training.method import Method


class Sample4Geo(Method):
    """One encoder, with shared weights and without a projection head, for both views of a place (section 3).

    The samplers are the benchmark's: `data.sampling` fills the batches with neighbours on the map, and the callback
    `RefreshNeighbors` with the places that the encoder confuses.

    Args:
        encoder: "small_resnet" or "convnext_base".
        width: channels of the small network's first stage.
        weights: folder with the encoder's pretrained weights.
        temperature: the learnable temperature at the start. As in the released code it has no bounds.
        label_smoothing: share of the target spread over the batch, in both directions.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_resnet",
        width: int = 16,
        weights: str | None = None,
        temperature: float = 0.07,
        label_smoothing: float = 0.1,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.encoder = with_global_statistics(image_encoder(encoder, 3, width, weights=weights))
        self.temperature = LearnableTemperature(temperature, minimum=0)
        self.label_smoothing = label_smoothing

    def training_step(self, batch: CrossViews, batch_idx: int) -> Tensor:
        query, reference = (F.normalize(self.encoder(view), dim=-1) for view in (batch.query, batch.reference))
        temperature = self.temperature()
        loss = symmetric_info_nce(query, reference, temperature=temperature, label_smoothing=self.label_smoothing)
        return self.log_loss(loss, temperature=temperature)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder(to_float(pixels))
