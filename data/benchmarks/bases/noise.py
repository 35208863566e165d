"""Wrong labels, drawn by the seed."""

import torch
from torch import Tensor

from common.errors import UserError
from common.random import uniform


def check_label_noise(share: float) -> None:
    """
    Raises:
        UserError: it is no share.
    """
    if not 0 <= share <= 1:
        raise UserError(f"data.label_noise is {share}; it must be in [0, 1]")


def wrong_labels(labels: Tensor, ids: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Labels of which this share is replaced by another class, drawn uniformly; which ones, the seed and the ids fix.

    Args:
        labels: the true ones, from 0 to classes - 1, int64 of shape (n,).
        ids: of the samples, shape (n,).
    """
    wrong, other = uniform(ids, 2, seed, 3).unbind(1)
    # A shift by 1 to classes - 1 reaches each of the other classes and never the true one.
    return torch.where(wrong < share, (labels + 1 + (other * (classes - 1)).long()) % classes, labels)
