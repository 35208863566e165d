"""Hard contrast (Wang and Liu 2021): SimCLR whose anchors meet only the nearest of their negatives."""

from typing import Literal

import torch
from torch import Tensor

from common.batches import Images
from common.checks import check_number
from common.distributed import Exchange, global_mean
from common.encoders.image import to_float
from common.errors import UserError
from common.scores import Scores
from papers.theory.contrastive_behaviour.losses import Form, anchor_losses, random_order
from papers.vision_ssl.simclr.module import SimCLR


class HardSimCLR(SimCLR):
    """Each view must find the other of its image among the share of its negatives that is nearest to it (eq. 9).

    The more a negative is like the anchor, the more the softmax pushes it away, and at a low temperature the nearest
    alone. At a high one it pushes all alike, and leaving out the far ones is what keeps the push on the near ones.

    Args:
        kept: share of the negatives that count, in (0, 1]; at least one does.
        choice: those that are "nearest", or as many at "random".
        begin: share of the steps, from the first on, in which all negatives count. Before anything is learnt the
            nearest are nearer than the positive, and pushed alone they draw all embeddings into one point.
        form: "softmax", or "simple", to which it tends as the temperature grows: the mean score of the negatives less
            that of the positive.
        temperature: of the softmax.
        simclr: the other arguments of `SimCLR`.
    """

    def __init__(
        self,
        *,
        kept: float = 0.25,
        choice: Literal["nearest", "random"] = "nearest",
        begin: float = 0.2,
        form: Form = "softmax",
        temperature: float = 1.0,
        **simclr,
    ) -> None:
        super().__init__(temperature=temperature, **simclr)
        check_number("model.kept", kept, above=0, most=1)
        check_number("model.begin", begin, least=0, most=1)
        self.kept, self.choice, self.begin, self.form = kept, choice, begin, form

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = self.network(torch.cat(batch.pair())).chunk(2)
        early = self.global_step < self.begin * self.trainer.estimated_stepping_batches
        return self.log_loss(self.contrast(view_a, view_b, batch.ids, 1.0 if early else self.kept))

    def contrast(self, view_a: Tensor, view_b: Tensor, ids: Tensor, kept: float) -> Tensor:
        """The loss of unit vectors of two views of the images `ids`, (n, projection_dim) each, with a share of the
        negatives."""
        views, images = torch.cat([view_a, view_b]), ids.repeat(2)
        scale = 1 / self.temperature if self.form == "softmax" else 1.0
        scores = Scores(views, views, scale=scale, exchange=Exchange.GATHER)
        count = scores.shape[1] - 2
        if count < 1:
            raise UserError("data.batch_size is 1; it must be at least 2, since an image is compared with others")
        scores, columns = scores.exclude(scores.equal(images, images)), None
        if kept < 1:
            order = scores
            if self.choice == "random":
                order = random_order(ids, 2, *self.key("negatives"))
                order = order.exclude(order.equal(images, images))
            with torch.no_grad():
                columns = order.topk(max(1, round(kept * count)))[1]
        positive = Scores(view_a, view_b, scale=scale).diagonal().repeat(2)
        return global_mean(anchor_losses(positive, scores, columns, form=self.form, count=count))

    def project_image(self, pixels: Tensor) -> Tensor:
        """The unit vectors that the loss compares."""
        return self.network(to_float(pixels))
