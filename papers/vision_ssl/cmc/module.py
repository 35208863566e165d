"""Contrastive Multiview Coding (Tian et al. 2020): lightness and colour of an image, each told by the other's bank."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.image import ImageEncoderName
from common.errors import UserError
from common.losses import NormalizationConstant, noise_contrastive, symmetric_info_nce
from common.losses.temperature import inverse
from common.sampling.bank import MemoryBank, rows_in_cube
from common.scores import Scores
from papers.vision_ssl.cmc.two_views import Parting, TwoViews


class CMC(TwoViews):
    """The code of one view must tell its image's row in the bank of the other view from rows drawn at random.

    Args:
        encoder, width, colours: as in `TwoViews`.
        projection_dim: width of codes and rows.
        negatives: rows drawn for each code, with repetition, its own among them; the same in both banks.
        bank_momentum: how much of a row stays when its image is seen, in [0, 1].
        temperature: divides the cosine similarities.
        loss: "nce", noise-contrastive estimation with a normalization constant for each direction (eq. 12), or
            "softmax", the cross-entropy over the same rows.
        contrast: "cross", as published; "within" compares a code with the bank of its own view, which is instance
            discrimination in each view apart.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        width: int = 16,
        projection_dim: int = 64,
        colours: Parting = "lab",
        negatives: int = 1024,
        bank_momentum: float = 0.5,
        temperature: float = 0.07,
        loss: Literal["nce", "softmax"] = "nce",
        contrast: Literal["cross", "within"] = "cross",
        **optimization,
    ) -> None:
        super().__init__(encoder=encoder, width=width, outputs=(projection_dim,) * 2, colours=colours, **optimization)
        check_number("model.bank_momentum", bank_momentum, least=0, most=1)
        if negatives < 1:
            raise UserError(f"model.negatives is {negatives}; it must be at least 1")
        self.banks = nn.ModuleList(
            MemoryBank(projection_dim, lambda ids, view=view: rows_in_cube(ids, projection_dim, *self.key(view)))
            for view in ("bank of lightness", "bank of colour")
        )
        self.log_z = nn.ModuleList([NormalizationConstant(), NormalizationConstant()])
        self.negatives, self.bank_momentum, self.temperature = negatives, bank_momentum, temperature
        self.loss, self.contrast = loss, contrast

    def setup(self, stage: str) -> None:
        if stage == "fit":
            for bank in self.banks:
                bank.cover(self.training_ids())

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        views = len(batch.views)  # the published recipe has one crop of an image
        columns = self.banks[0].columns(batch.ids, self.negatives, *self.key("noise"), views=views)
        return self.log_loss(self.discriminate(self.codes(batch.views), batch.ids, columns))

    def discriminate(self, codes: list[Tensor], ids: Tensor, columns: Tensor) -> Tensor:
        """The loss against the banks, whose rows of these images then move.

        Args:
            codes: of lightness and of colour, as `codes` gives them.
            ids: of the images, (n,).
            columns: places in the banks, each code's own and then the noise, (crops * n, 1 + negatives).
        """
        rows = [bank.rows for bank in self.banks]
        others = rows[::-1] if self.contrast == "cross" else rows
        sides = zip(codes, others, self.log_z, strict=True)
        loss = torch.stack([self.term(*side, columns) for side in sides]).sum()
        for bank, seen in zip(self.banks, codes, strict=True):
            bank.move(ids, seen, self.bank_momentum)
        return loss

    def term(self, rows: Tensor, bank: Tensor, log_z: NormalizationConstant, columns: Tensor) -> Tensor:
        """One direction of the loss: codes (n, d) against the rows (N, d) of a bank."""
        given = dict(temperature=self.temperature)
        if self.loss == "nce":
            return noise_contrastive(rows, bank, columns, log_z=log_z(rows, bank, columns, **given), **given)
        scores = Scores(rows, bank.detach(), scale=inverse(self.temperature)).pairs(columns)
        return global_mean(scores.logsumexp(dim=1) - scores[:, 0])


class CMCInBatch(TwoViews):
    """The same without banks: the code of one view finds that of the other among those of the batch, both ways.

    With several crops of an image, lightness and colour are taken of different ones, so that no edge gives them away.

    Args:
        encoder, width, colours: as in `TwoViews`.
        projection_dim: width of the codes.
        temperature: divides the cosine similarities.
        contrast: "cross", or "within", where the code of a crop finds that of another crop by the same encoder.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        width: int = 16,
        projection_dim: int = 64,
        colours: Parting = "lab",
        temperature: float = 0.2,
        contrast: Literal["cross", "within"] = "cross",
        **optimization,
    ) -> None:
        super().__init__(encoder=encoder, width=width, outputs=(projection_dim,) * 2, colours=colours, **optimization)
        self.temperature, self.contrast = temperature, contrast

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        if self.contrast == "within" and len(batch.views) < 2:
            raise UserError("model.contrast within compares crops of an image; data.views must be at least 2")
        lightness, colour = (rows.unflatten(0, (len(batch.views), -1)) for rows in self.codes(batch.views))
        sides = [(lightness, colour)] if self.contrast == "cross" else [(lightness, lightness), (colour, colour)]
        pairs = [pair for one, other in sides for pair in zip(one, other.roll(1, dims=0), strict=True)]
        terms = [symmetric_info_nce(*pair, temperature=self.temperature, directions="sum") for pair in pairs]
        return self.log_loss(torch.stack(terms).mean())
