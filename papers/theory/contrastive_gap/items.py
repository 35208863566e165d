"""Two networks of the same inputs, or no network at all: whether the loss parts two sides that begin as one."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Items
from common.checks import check_number
from common.encoders.heads import Projected
from common.encoders.points import FreePoints
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.random import normal
from common.training.method import Method
from papers.theory.contrastive_gap.module import GapLoss

INPUTS = 16
"""Numbers that a tower is told of an item."""


class PairedItems(Method):
    """Items that both sides see alike, under the loss of `ContrastiveGap`, from sides whose centres coincide.

    Args:
        encoder: "towers", two networks of one form, each with its own weights, that are given the same numbers, drawn
            for each item once and for all; or "points", a free vector for each item and side, all in one cone.
        count: number of items, that of the data.
        dim: of the common space.
        width: of the towers' two hidden layers.
        gap: how far apart the sides begin. Side 1 is turned onto side 0 moved by so much of the difference of their
            means, so that 0 is no gap and 1 about that of two untrained networks; the turn is the orthogonal map of
            least squares over all items and is not trained. Of points it is the distance of their centres before they
            are brought to the sphere.
        offset: of the cone that points begin in, see `FreePoints`.
        temperature, contrast_weight, uniform_weight, align_weight, cross_weight, t: as in `GapLoss`.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: Literal["towers", "points"] = "towers",
        count: int = 2000,
        dim: int = 128,
        width: int = 128,
        gap: float = 0.0,
        offset: float = 1.0,
        temperature: float = 0.01,
        contrast_weight: float = 1.0,
        uniform_weight: float = 1.0,
        align_weight: float = 1.0,
        cross_weight: float = 0.0,
        t: float = 2.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if encoder not in ("towers", "points"):
            raise UserError(f"model.encoder is {encoder!r}; it must be 'towers' or 'points'")
        check_number("model.gap", gap, least=0)
        weights = dict(uniform_weight=uniform_weight, align_weight=align_weight, cross_weight=cross_weight)
        self.loss = GapLoss(temperature=temperature, contrast_weight=contrast_weight, **weights, t=t)
        self.count = count
        self.points = FreePoints(2 * count, dim, offset=offset) if encoder == "points" else None
        towers = range(2 if encoder == "towers" else 0)
        self.towers = nn.ModuleList(Projected(VectorTower(INPUTS, width), dim) for _ in towers)
        self.register_buffer("turn", torch.eye(dim))
        with torch.no_grad():
            if self.points is not None:
                self.points.rows[count:] += gap * F.normalize(torch.randn(dim), dim=0)
            else:
                self.turn.copy_(self._turn(gap))

    def _turn(self, gap: float) -> Tensor:
        """The orthogonal map that brings side 1 onto side 0, (dim, dim)."""
        x, y = (self.embed_items(torch.arange(self.count), side) for side in (0, 1))
        moved = F.normalize(x + gap * (y.mean(dim=0) - x.mean(dim=0)), dim=1)
        left, _, right = torch.linalg.svd(y.T @ moved)
        return left @ right

    def training_step(self, batch: Items, batch_idx: int) -> Tensor:
        return self.log_loss(self.loss(*(self.embed_items(batch.ids, side) for side in (0, 1))))

    def embed_items(self, ids: Tensor, side: int) -> Tensor:
        """Unit vectors of items on a side, (n, dim)."""
        if self.points is not None:
            return self.points(ids + side * self.count)
        rows = self.towers[side](normal(ids, INPUTS, 34).to(self.turn))
        return rows @ self.turn if side else rows
