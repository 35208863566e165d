"""Instance discrimination (Wu et al. 2018): every image is a class of its own, kept as a row of a memory bank."""

from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.encoders.heads import Projected
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.losses import NormalizationConstant, noise_contrastive
from common.sampling.bank import MemoryBank, rows_in_cube
from common.training.method import Method


class InsDis(Method):
    """An image must tell its row of the bank, the mean of what it was before, from rows drawn at random (eq. 7).

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        projection_dim: width of a row, a linear map above the encoder.
        negatives: rows drawn for each view, with repetition, its own among them.
        bank_momentum: how much of a row stays when its image is seen, in [0, 1].
        temperature: divides the cosine similarities.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        projection_dim: int = 64,
        negatives: int = 1024,
        bank_momentum: float = 0.5,
        temperature: float = 0.1,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.bank_momentum", bank_momentum, least=0, most=1)
        if negatives < 1:
            raise UserError(f"model.negatives is {negatives}; it must be at least 1")
        network = Projected(image_encoder(encoder, channels, width), projection_dim, nn.Linear)
        self.network = with_global_statistics(network)
        self.bank = MemoryBank(projection_dim, self.first_rows)
        self.log_z = NormalizationConstant()
        self.negatives, self.bank_momentum, self.temperature = negatives, bank_momentum, temperature

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.bank.cover(self.training_ids())

    def first_rows(self, ids: Tensor) -> Tensor:
        return rows_in_cube(ids, self.network.head.out_features, *self.key("bank"))

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        views = len(batch.views)  # the published recipe has one
        rows = self.network(batch.views.flatten(0, 1))
        columns = self.bank.columns(batch.ids, self.negatives, *self.key("noise"), views=views)
        return self.log_loss(self.discriminate(rows, batch.ids, columns))

    def discriminate(self, rows: Tensor, ids: Tensor, columns: Tensor) -> Tensor:
        """The loss against the bank, whose rows of these images then move.

        Args:
            rows: unit vectors of all views, one view of all images after the other, (views * n, projection_dim).
            ids: of the images, (n,).
            columns: places in the bank, each row's own and then the noise, (views * n, 1 + negatives).
        """
        bank, given = self.bank.rows, dict(temperature=self.temperature)
        loss = noise_contrastive(rows, bank, columns, log_z=self.log_z(rows, bank, columns, **given), **given)
        self.bank.move(ids, rows, self.bank_momentum)
        return loss

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
