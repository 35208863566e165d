"""Hard contrast against a memory bank of all images, as in the paper's experiments."""

import torch
from torch import Tensor

from common.batches import Images
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.image import to_float
from common.scores import Scores
from papers.theory.contrastive_behaviour.losses import Form, anchor_losses
from papers.vision_ssl.insdis.module import InsDis


class HardInsDis(InsDis):
    """An image must tell its row of the bank from the nearest of all other rows.

    Args:
        kept: share of the other rows that count, in (0, 1].
        form: as in `HardSimCLR`.
        temperature: of the softmax.
        insdis: the other arguments of `InsDis`; nothing is drawn, and `negatives` is not used.
    """

    def __init__(self, *, kept: float = 0.0819, form: Form = "softmax", temperature: float = 1.0, **insdis) -> None:
        super().__init__(temperature=temperature, **insdis)
        check_number("model.kept", kept, above=0, most=1)
        self.kept, self.form = kept, form

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(self.network(batch.views.flatten(0, 1)), batch.ids))

    def contrast(self, rows: Tensor, ids: Tensor) -> Tensor:
        """The loss of unit vectors of all views of the images `ids`, whose rows of the bank then move.

        Args:
            rows: one view of all images after the other, (views * n, projection_dim).
            ids: (n,).
        """
        own = self.bank.places(ids).repeat(len(rows) // len(ids))
        bank = self.bank.rows.to(rows)
        scores = Scores(rows, bank, scale=1 / self.temperature if self.form == "softmax" else 1.0)
        positive = scores.pairs(own[:, None]).squeeze(1)
        scores = scores.exclude(scores.equal(own, torch.arange(len(bank), device=own.device)))
        count = len(bank) - 1
        with torch.no_grad():
            columns = scores.topk(max(1, round(self.kept * count)))[1] if self.kept < 1 else None
        loss = global_mean(anchor_losses(positive, scores, columns, form=self.form, count=count))
        self.bank.move(ids, rows, self.bank_momentum)
        return loss

    def project_image(self, pixels: Tensor) -> Tensor:
        """The unit vectors that are told from the bank."""
        return self.network(to_float(pixels))
