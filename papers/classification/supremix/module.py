"""SupReMix (Wu et al. 2023): SupCon for regression, with mixtures of embeddings that know the order of labels."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.distributed import gather, shards
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.random import uniform
from common.sampling.mixup import beta_quantiles
from papers.classification.supcon.module import SupCon
from papers.classification.supremix.mixtures import Mixtures, Weight, mixed_sup_con

SHARES = 4096
"""Shares of the anchor in a negative mixture, all equally likely."""


class SupReMix(SupCon):
    """SupCon whose anchors also meet mixtures, and are pushed the harder from a candidate the further its label is.

    An anchor mixed with a row of another label is a negative that lies between them; two rows on either side of the
    anchor's label, mixed to have exactly it, are a positive. Labels are whole numbers along the range of what is told,
    such as years, or intervals.

    Args:
        mix: which mixtures there are, "negatives", "positives", "both", or "none".
        window: two rows are mixed to a positive if the label of either is less than this away from the anchor's.
        alpha, beta: an anchor's share in a negative is of Beta(alpha, beta), whose mean is alpha / (alpha + beta).
        weight: of a candidate at a distance d of labels, "linear" d + 1, "square" d^2 + 1, or "none".
        released: the loss as the released code computes it, see `as_released`.
        normalized_output: batch normalization behind the projection head, without a bias before it.
        supcon: the arguments of `SupCon`; `positives` are "out".

    Raises:
        UserError: a number is out of range, or the mean over the positives is to stand inside the logarithm.
    """

    shares: Tensor

    def __init__(
        self,
        *,
        mix: Literal["both", "negatives", "positives", "none"] = "both",
        window: float = 5.0,
        alpha: float = 2.0,
        beta: float = 8.0,
        weight: Weight = "linear",
        released: bool = False,
        normalized_output: bool = False,
        **supcon,
    ) -> None:
        super().__init__(**supcon)
        if self.positives != "out":
            raise UserError(f"model.positives is {self.positives!r}; with mixtures it must be 'out'")
        check_number("model.window", window, above=0)
        for name, value in {"alpha": alpha, "beta": beta}.items():
            check_number(f"model.{name}", value, above=0)
        if normalized_output:
            head: Any = self.network.head
            self.network.head = with_global_statistics(nn.Sequential(head, nn.BatchNorm1d(head[-1].out_features)))
        self.register_buffer("shares", beta_quantiles(SHARES, alpha, beta), persistent=False)
        self.mix, self.window, self.weight, self.released = mix, window, weight, released

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        embeddings = self.network(batch.views.flatten(0, 1))
        labels = batch.labels.repeat(len(batch.views))  # views are stacked whole, one after the other
        negatives, positives = self.mixtures(labels, batch.ids)
        loss = mixed_sup_con(
            embeddings,
            labels,
            temperature=self.temperature,
            negatives=negatives,
            positives=positives,
            weight=self.weight,
            released=self.released,
        )
        return self.log_loss(loss)

    def mixtures(self, labels: Tensor, ids: Tensor) -> tuple[Mixtures | None, Mixtures | None]:
        """Negative and positive ones of our rows, given their labels, (views * n,), and the ids of the n images."""
        layout, negatives, positives = shards(len(labels), labels.device), None, None
        every = gather(labels, layout)
        if self.mix in ("both", "negatives"):
            views = len(labels) // len(ids)
            rows = torch.cat([ids * views + view for view in range(views)])
            draws = uniform(rows, 2, *self.key("shares"))
            # Of two numbers, one of either row, the sum less its whole part is as uniform as each, and another for
            # every pair: far cheaper than to draw one a pair.
            share = (draws[:, :1] + gather(draws, layout)[:, 1]) % 1
            share = self.shares[(share * SHARES).long()]
            negatives = Mixtures.negatives(every, layout.own, share)
        if self.mix in ("both", "positives"):
            positives = Mixtures.positives(every, layout.own, self.window)
        return negatives, positives
