"""Embeddings without a network: a vector of its own for each item, on the unit sphere."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_number
from common.errors import UserError


class FreePoints(nn.Module):
    """Trained unit vectors, one for each of `count` items: what a loss wants of an encoder that could do anything.

    They begin uniformly on the sphere, or with an `offset` in a cone around a direction of their own, as the outputs of
    an untrained network do.

    Args:
        count: number of items.
        dim: of the space around the sphere.
        offset: length of what all vectors have in common at the start, before they are normalized; what each has for
            itself is about 1 long. The mean cosine of two of them is then about offset^2 / (1 + offset^2).

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, count: int, dim: int, *, offset: float = 0.0) -> None:
        super().__init__()
        check_number("model.dim", dim, least=2)
        check_number("model.offset", offset, least=0)
        if count < 1:
            raise UserError(f"model.count is {count}; it must be at least 1")
        self.output_dim = dim
        common = F.normalize(torch.randn(dim), dim=0)
        self.rows = nn.Parameter(torch.randn(count, dim) / dim**0.5 + offset * common)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """The unit vectors of some items, int64 (n,), or of all: (n, dim).

        Raises:
            UserError: an item beyond `count`.
        """
        if index is None:
            return F.normalize(self.rows, dim=1)
        if len(index) and int(index.max()) >= len(self.rows):
            raise UserError(f"item {int(index.max())}: model.count is {len(self.rows)}; it must be that of the data")
        return F.normalize(self.rows[index], dim=1)

    def all_of(self, count: int) -> Tensor:
        """The unit vectors of all items of data that have `count` of them: (count, dim).

        Raises:
            UserError: `count` is another here. More vectors than items would be pushed and never asked for.
        """
        if count != len(self.rows):
            raise UserError(f"model.count is {len(self.rows)}; it must be that of the data, {count}")
        return self()


def degrees(nodes: Tensor, count: int) -> Tensor:
    """How many edges start at each node; unlike `bincount`, it never asks a GPU how many nodes there are.

    Args:
        nodes: where each edge starts, int64 (e,), below `count`.
        count: of nodes.

    Returns:
        int64 (count,).
    """
    return nodes.new_zeros(count).index_add_(0, nodes, torch.ones_like(nodes))


def neighbour_means(rows: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The mean row of each node's neighbours, and how many there are.

    Args:
        rows: of every node, (n, d).
        edges: (node, neighbour), int64 of shape (2, e), as `common.batches.Graph` has them.

    Returns:
        (n, d), zeros for a node without any, and (n,).
    """
    counts = degrees(edges[0], len(rows)).to(rows)
    total = torch.zeros_like(rows).index_add(0, edges[0], rows[edges[1]])
    return total / counts.clamp(min=1)[:, None], counts
