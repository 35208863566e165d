"""Dropout whose mask belongs to the sample, so that a run is the same on any number of processes."""

from torch import Tensor

from common.random import uniform


def sample_dropout(x: Tensor, share: float, ids: Tensor, *key: int) -> Tensor:
    """Sets this share of the entries to 0, and divides the others by 1 - share (Srivastava et al. 2014).

    Args:
        x: features of views of n samples, whole views one after the other, shape (views * n, d).
        share: in [0, 1); 0 changes nothing.
        ids: of the samples, shape (n,).
        key: what the mask depends on besides, such as `Method.key("dropout")`.
    """
    if not share:
        return x
    views = len(x) // len(ids)
    drawn = uniform(ids, views * x.shape[1], *key).view(len(ids), views, x.shape[1])
    return x * (drawn.transpose(0, 1).flatten(0, 1) >= share) / (1 - share)
