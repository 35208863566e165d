"""A memory bank: for each training sample what the network made of it at its last visits."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.random import uniform
from common.sampling.per_sample import PerSample


class MemoryBank(PerSample):
    """A row for each training sample that moves towards its embeddings, and columns of rows to tell it from.

    Args:
        dim: width of a row.
        start: rows (n, dim) of ids (n,) before any sample was seen, such as `rows_in_cube`.

    Source: Wu et al. 2018 (instance discrimination), and the released code.
    """

    def __init__(self, dim: int, start: Callable[[Tensor], Tensor]) -> None:
        super().__init__(dim, start=start)

    def columns(self, ids: Tensor, negatives: int, *key: int, views: int = 1) -> Tensor:
        """Places in the bank for each view of our samples: its own row, then rows drawn uniformly, with repetition.

        Args:
            ids: (n,).
            negatives: how many are drawn, its own row perhaps among them; at least 1.
            key: what the draws depend on, beside the sample.
            views: of each sample; each has draws of its own.

        Returns:
            int64 (views * n, 1 + negatives), one view of all samples after the other.

        Raises:
            UserError: no negatives, or an id that is not covered.
        """
        if negatives < 1:
            raise UserError(f"negatives is {negatives}; it must be at least 1")
        noise = uniform(ids, views * negatives, *key).double() * len(self)
        noise = noise.long().unflatten(1, (views, -1)).transpose(0, 1).flatten(0, 1)
        return torch.cat([self.places(ids).repeat(views)[:, None], noise], dim=1)

    def move(self, ids: Tensor, rows: Tensor, momentum: float) -> None:
        """Draws the rows of our samples towards the mean of their views, and brings them to unit length.

        Args:
            ids: (n,).
            rows: unit vectors, one view of all samples after the other, (views * n, dim).
            momentum: how much of a row stays, in [0, 1].
        """
        seen = rows.detach().unflatten(0, (-1, len(ids))).mean(dim=0)
        moved = torch.lerp(seen, self.read(ids).to(seen), momentum)
        self.write(ids, F.normalize(moved, dim=-1))


def rows_in_cube(ids: Tensor, dim: int, *key: int) -> Tensor:
    """Rows for samples that were never seen: uniform in a cube, of length 1 on average, (n, dim)."""
    return (2 * uniform(ids, dim, *key) - 1) * (3 / dim) ** 0.5
