"""Batches of graphs, whole or by their edges."""

from typing import NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """A graph of `n` nodes. It is whole in every batch."""

    features: Tensor
    """Of every node, shape (n, f)."""
    edges: Tensor
    """Pairs of nodes, each edge in both directions, int64 of shape (2, e)."""
    target: Tensor
    """What is asked of each node, shape (n,); NaN where a method is not to know it."""
    ids: Tensor
    """The nodes that this step is about, shape (b,)."""

    def adjacency(self) -> Tensor:
        """1 where an edge joins two nodes, float32 of shape (n, n)."""
        n = len(self.features)
        joined = torch.zeros(n, n, device=self.edges.device)
        joined[self.edges[0], self.edges[1]] = 1
        return joined


class HeteroGraph(NamedTuple):
    """A graph of `n` nodes of interest, joined by way of nodes of other kinds. It is whole in every batch."""

    features: Tensor
    """Of every node of interest, shape (n, f)."""
    edges: tuple[Tensor, ...]
    """For each other kind, (node of interest, node of that kind), int64 of shape (2, e)."""
    ids: Tensor
    """The nodes of interest that this step is about, shape (b,)."""


class Triples(NamedTuple):
    """`n` facts of a knowledge graph."""

    head: Tensor
    """Number of the entity, int64 of shape (n,)."""
    relation: Tensor
    tail: Tensor
    ids: Tensor
    """Global id of each triple, shape (n,)."""


class Interactions(NamedTuple):
    """`n` pairs of a user and an item that the user likes."""

    user: Tensor
    """Number of the user, int64 of shape (n,)."""
    item: Tensor
    ids: Tensor
    """Global id of each pair, shape (n,)."""
