"""MACL (Huang et al. 2023): SimCLR whose temperature follows the alignment, and whose anchors weigh 1 / (1 - P)."""

from typing import Literal

from torch import Tensor

from common.batches import Images
from common.checks import check_number
from common.distributed import global_mean
from common.losses import nt_xent, reweighted_nt_xent
from papers.vision_ssl.simclr.module import SimCLR


class MACL(SimCLR):
    """A temperature for the model as it is, and a gradient that does not fade where a positive is found.

    The temperature of a batch is temperature * (1 + alpha * (A - threshold)), with A the mean cosine of its positive
    pairs, over all processes. Neither it nor the weights carry a gradient.

    Args:
        temperature: where the alignment is at the threshold.
        alpha: how much the temperature follows the alignment, from 0, not at all, to 1.
        threshold: A_0 of the paper, a cosine.
        weights: "anchor", 1 / (1 - P) for each; "batch", the inverse of the batch's mean of 1 - P for all alike; or
            "none".
        simclr: the other arguments of `SimCLR`.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        alpha: float = 0.5,
        threshold: float = 0.0,
        weights: Literal["anchor", "batch", "none"] = "anchor",
        **simclr,
    ) -> None:
        super().__init__(temperature=temperature, **simclr)
        check_number("model.alpha", alpha, least=0, most=1)
        check_number("model.threshold", threshold, least=-1, most=1)
        self.alpha, self.threshold, self.weights = alpha, threshold, weights

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        return self.contrast(*self.network(batch.views.flatten(0, 1)).chunk(2))

    def contrast(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """The loss of two views of each picture, unit vectors (n, projection_dim) each."""
        alignment = global_mean((view_a * view_b).sum(dim=1).detach())
        temperature = self.temperature * (1 + self.alpha * (alignment - self.threshold))
        if self.weights == "none":
            loss = nt_xent(view_a, view_b, temperature=temperature)
        else:
            loss = reweighted_nt_xent(view_a, view_b, temperature=temperature, weights=self.weights)
        return self.log_loss(loss, temperature=temperature, alignment=alignment)
