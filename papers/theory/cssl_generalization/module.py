"""What an augmentation decides (Huang et al. 2023): contrast of vectors, by samples or by dimensions, as it is."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.encoders.heads import ProjectionHead
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.losses import barlow_twins, nt_xent
from common.training.method import Method


class VectorContrast(Method):
    """Two views of a vector meet in one of the paper's two losses; what it studies is how the views are drawn.

    The representation is what the losses compare, as in the theorems.

    Args:
        channels: entries of the vectors.
        width: of the two hidden layers.
        dim: of the embeddings.
        form: "nt_xent", SimCLR's, or "barlow_twins".
        temperature: of the former.
        redundancy: weight of what different dimensions have in common, of the latter.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        channels: int = 40,
        width: int = 256,
        dim: int = 64,
        form: Literal["nt_xent", "barlow_twins"] = "nt_xent",
        temperature: float = 0.2,
        redundancy: float = 0.005,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if form not in ("nt_xent", "barlow_twins"):
            raise UserError(f"model.form is {form!r}; it must be 'nt_xent' or 'barlow_twins'")
        self.encoder = VectorTower(channels, width)
        self.head = ProjectionHead(width, dim)
        self.form, self.temperature, self.redundancy = form, temperature, redundancy

    def training_step(self, batch: LabelledVectors, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(*self.head(self.encoder(torch.cat(batch.pair()))).chunk(2)))

    def contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """The loss of two views, (n, dim) each, of any length."""
        if self.form == "barlow_twins":
            return barlow_twins(one, other, weight=self.redundancy)
        return nt_xent(F.normalize(one, dim=1), F.normalize(other, dim=1), temperature=self.temperature)

    def embed_vectors(self, x: Tensor) -> Tensor:
        """(n, dim), not of unit length."""
        return self.head(self.encoder(x))
