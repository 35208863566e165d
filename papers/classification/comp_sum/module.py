"""Comp-sum losses (Mao et al. 2023), from the sum of exponentials by way of cross-entropy to the absolute error."""

import torch
from torch import Tensor

from common.checks import check_number
from common.losses.precision import at_least_float32
from papers.classification.cross_entropy.module import CrossEntropy


def comp_sum(log_p: Tensor, tau: float) -> Tensor:
    """PHI_tau(1 / p - 1) with PHI_tau(u) = ((1 + u)^(1 - tau) - 1) / (1 - tau), and log(1 + u) at tau 1; elementwise.

    1 / p - 1 is the sum over the other classes of exp(-(f_y - f_j)).

    Args:
        log_p: log-probabilities of the right classes, any shape.
        tau: at least 0. At 0 this is 1 / p - 1, the sum of exponentials; at 1 cross-entropy; between 1 and 2 the
            generalized cross-entropy with q = tau - 1; at 2 the mean absolute error, 1 - p.
    """
    if tau == 1:
        return -log_p
    # Not a power of p, which is 0 where a logit is far off; expm1 keeps the digits near tau 1 and near p 1.
    return torch.expm1((tau - 1) * log_p) / (1 - tau)


class CompSum(CrossEntropy):
    """A concave function of the sum of exponentials of differences of logits, see `comp_sum`.

    Below tau 1 a sample weighs the more the worse it is: its gradient has a factor of p^(tau - 1) beside that of
    cross-entropy, which overflows float32 at tau 0 where p is under 1e-38. Above tau 1 it weighs the less.

    Args:
        tau: which of the family, from 0 to 2.
        others: as in `CrossEntropy`, without `label_smoothing`.

    Raises:
        UserError: tau is out of range, or labels are to be smoothed.
    """

    def __init__(self, *, tau: float = 1.5, **others) -> None:
        super().__init__(**others)
        check_number("model.tau", tau, least=0, most=2)
        check_number("model.label_smoothing", self.label_smoothing, most=0)
        self.tau = tau

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = at_least_float32(logits).log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
        return comp_sum(log_p, self.tau)
