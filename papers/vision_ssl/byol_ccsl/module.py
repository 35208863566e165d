"""CCSL and CSSL (Garg and Jain 2022): in BYOL, pairs of images that look alike to it already are drawn together too."""

from typing import Literal

import torch
from torch import Tensor

from common.batches import Images
from common.checks import check_number
from common.distributed import Exchange, Shards, global_mean
from common.errors import UserError
from common.losses import alignment, self_labelled
from common.losses.self_labelled import Form
from common.random import uniform
from common.scores import Scores
from papers.vision_ssl.byol.module import BYOL

Selection = Literal["similar", "random", "one_class"]


class SelfLabellingBYOL(BYOL):
    """A prediction is also compared with the targets of other images that it is close to (eq. 7 and 11 to 13).

    Args:
        form: "distance" for CCSL and "entropy" for CSSL, see `self_labelled`.
        weight: of the pairs of different images, which are summed and not averaged.
        above: cosine from which such a pair is drawn together.
        below: cosine up to which it is pushed apart; none is without it.
        begin: share of all steps that are BYOL's own, as the published training starts from a trained BYOL.
        selection: which pairs are drawn together: "similar", the paper's; "random", as many for each prediction as are
            similar, whatever they are; "one_class", all of one class, by the labels. The last two are controls.
        others: the arguments of `BYOL` and `Method`.

    Raises:
        UserError: `begin` or `weight` is out of range, or another selection.
    """

    contrastive = True

    def __init__(
        self,
        *,
        form: Form = "distance",
        weight: float = 0.01,
        above: float = 0.8,
        below: float | None = None,
        begin: float = 0.3,
        selection: Selection = "similar",
        **others,
    ) -> None:
        super().__init__(**others)
        check_number("model.weight", weight, least=0)
        check_number("model.begin", begin, least=0, most=1)
        if selection not in ("similar", "random", "one_class"):
            raise UserError(f"model.selection is {selection!r}; it must be 'similar', 'random' or 'one_class'")
        self.form: Form = form
        self.weight, self.above, self.below = weight, above, below
        self.begin, self.selection = begin, selection

    def agreement(self, predicted: Tensor, target: Tensor, batch: Images, view: str) -> Tensor:
        scores = Scores(predicted.detach(), target, exchange=Exchange.GATHER)
        # A picture without a label, which is -1, is of no other's class.
        labels = batch.labels.where(batch.labels >= 0, -1 - batch.ids)
        one_class = scores.equal(labels, labels, own=False)
        similar = scores.exclude(scores.own()).sum(lambda s: (s >= self.above).to(s))
        right = scores.sum(lambda s, same: ((s >= self.above) & same).to(s), pairs=(one_class,))
        # How many similar pairs a prediction has, and how many of them are of one class.
        self.log(f"train/similar_{view}", global_mean(similar), batch_size=1)
        self.log(f"train/right_{view}", global_mean(right), batch_size=1)
        if self.global_step < self.begin * self.trainer.estimated_stepping_batches:
            return alignment(predicted, target)
        if self.selection == "similar":
            above, among = self.above, None
        else:
            drawn = self.drawn(similar, scores.layout, batch.ids, view)
            above, among = -2.0, drawn if self.selection == "random" else one_class
        return self_labelled(
            predicted, target, weight=self.weight, above=above, below=self.below, form=self.form, among=among
        )

    def drawn(self, counts: Tensor, layout: Shards, ids: Tensor, view: str) -> Tensor:
        """As many random pairs with other images as each of ours is to have, bool (n, all)."""
        order = uniform(ids, layout.total, *self.key(f"pairs of view {view}"))
        order[torch.arange(len(ids)), layout.start + torch.arange(len(ids))] = 1.0
        return order.argsort(dim=1).argsort(dim=1) < counts[:, None]
