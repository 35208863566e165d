"""L1 regression: the baseline that tells a quantity end to end, with the encoder and views of whoever is compared."""

from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.training.method import Method


class L1Regression(Method):
    """A linear output on the encoder, trained by its absolute error; every augmented view is one example.

    Another loss of the error extends it by `losses` alone.

    Args:
        encoder: a name that `image_encoder` knows, such as "small_resnet" or "imagenet_resnet50".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        unit: how much of the quantity the output counts as 1, so that a network that starts near 0 need not grow to
            numbers of another size. The loss is in this unit, what is told in the data's own.
        optimization: the arguments of `Method`.

    Raises:
        UserError: the unit is not above 0.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 1,
        width: int = 16,
        unit: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.unit", unit, above=0)
        network = image_encoder(encoder, channels, width)
        self.encoder = with_global_statistics(network)
        self.regressor = nn.Linear(network.output_dim, 1)
        self.unit = unit

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        said = self.regressor(self.encoder(batch.views.flatten(0, 1))).squeeze(1)
        truth = batch.measured().to(said.dtype).repeat(len(batch.views))  # views are stacked whole, one by one
        return self.log_loss(global_mean(self.losses(said - truth / self.unit)))

    def losses(self, errors: Tensor) -> Tensor:
        """One loss for each error in units, (n,)."""
        return errors.abs()

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.encoder(to_float(pixels))

    def tell_image(self, pixels: Tensor) -> Tensor:
        return self.unit * self.regressor(self.embed_image(pixels)).squeeze(1)
