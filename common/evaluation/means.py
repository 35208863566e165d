"""A metric that remembers what it is the mean of, so that its error over test items can be told."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Mean(float):
    """The mean of one value for each unit (a query, a document, a speaker): a float, with the values beside it.

    Args:
        items: one value per unit, shape (n,), in an order that is the same for every method and seed.
        value: the metric where it is not exactly the mean of `items`, such as a correlation whose items are the
            influence of each pair; by default their mean in float64.

    Raises:
        ValueError: `items` is empty or has another shape.
    """

    items: Tensor

    def __new__(cls, items: Tensor | Sequence[float], value: float | None = None) -> "Mean":
        values = torch.as_tensor(items, dtype=torch.float64).detach().cpu()
        if values.ndim != 1 or not len(values):
            raise ValueError(f"a mean is over values of shape (n,), n at least 1; found {tuple(values.shape)}")
        mean = super().__new__(cls, values.mean().item() if value is None else value)
        mean.items = values
        return mean

    def __getnewargs__(self) -> tuple[Tensor, float]:
        """Copies and pickles keep the items."""
        return self.items, float(self)


def both(left: float, right: float) -> float:
    """The mean of two metrics, such as the two directions of retrieval; of two means over as many units it is a `Mean`.

    Unit i of both is the same thing looked at from two sides, so their values are averaged too.
    """
    return average([left, right])


def average(metrics: Sequence[float]) -> float:
    """The mean of metrics over the same units, such as those of several draws; of means over as many units a `Mean`."""
    value = sum(metrics) / len(metrics)
    items = [metric.items for metric in metrics if isinstance(metric, Mean)]
    if len(items) == len(metrics) and len(set(map(len, items))) == 1:
        return Mean(torch.stack(items).mean(dim=0), value)
    return value


def ratio(parts: Tensor | Sequence[float], wholes: Tensor | Sequence[float]) -> Mean:
    """sum(parts) / sum(wholes), such as the precision of the links of all sentences together.

    The item of unit i is R + (parts_i - R wholes_i) / mean(wholes), that is R moved by the unit's influence on it: the
    mean of the items is R, and their spread gives the standard error of a ratio (Cochran 1977, section 6.4).

    Args:
        parts, wholes: one number for each unit, (n,); the wholes sum to more than 0.
    """
    above, below = (torch.as_tensor(x, dtype=torch.float64) for x in (parts, wholes))
    value = above.sum() / below.sum()
    return Mean(value + (above - value * below) / below.mean(), value.item())


def by_group(metric: Mean, groups: Tensor) -> Mean:
    """The same mean with an item for each group, such as a class: what belongs together is no independent evidence.

    With groups of one size the items are their means, and else as in `ratio`, in the order of the groups' numbers. The
    value is that of the metric to the last digit.

    Args:
        metric: over n units.
        groups: of each unit, integers of shape (n,).
    """
    which = groups.cpu().unique(return_inverse=True)[1]
    sums = torch.zeros(int(which.max()) + 1, dtype=torch.float64).index_add_(0, which, metric.items)
    return Mean(ratio(sums, which.bincount()).items, float(metric))
