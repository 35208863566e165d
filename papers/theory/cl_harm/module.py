"""Contrastive embedding of a graph (Maity et al. 2024): edges are positives, and a small block merges with its twin."""

import math

from torch import Tensor

from common.batches import Graph
from common.encoders.points import FreePoints, degrees
from common.scores import Scores
from common.training.method import Method

LEAST = 1e-7
"""What a cosine below it counts as where negative ones are not to count."""


class GraphContrast(Method):
    """Each node is a free unit vector that is drawn to its neighbours and pushed from all nodes, itself among them.

    With G the edges, deg_i those of node i and N nodes, the loss is
    mean_i [ log mean_j exp(v_i v_j / t) - (1 / deg_i) sum_j G_ij v_i v_j / t ]; a node without an edge is only pushed.
    There is no network, so that what the vectors become is due to the loss and the graph alone.

    The whole graph is one batch, whatever nodes a step is about.

    Args:
        count: nodes of the graph.
        dim: of the space around the sphere.
        temperature: divides the cosines.
        clamp: cosines below `LEAST` count as that and give no gradient, as in the authors' study of pictures.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self, *, count: int = 900, dim: int = 10, temperature: float = 1.0, clamp: bool = False, **optimization
    ) -> None:
        super().__init__(**optimization)
        self.points = FreePoints(count, dim)
        self.temperature, self.clamp = temperature, clamp

    def training_step(self, batch: Graph, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(self.points.all_of(len(batch.features)), batch.edges))

    def contrast(self, rows: Tensor, edges: Tensor) -> Tensor:
        """The loss of unit vectors of all nodes, (n, dim), and edges (node, neighbour), int64 (2, e)."""
        n, (node, neighbour) = len(rows), edges
        scores, pull = Scores(rows, rows, scale=1 / self.temperature), (rows[node] * rows[neighbour]).sum(dim=1)
        push = clamped_logsumexp(scores, 1 / self.temperature) if self.clamp else scores.logsumexp(dim=1)
        pull = pull.clamp(min=LEAST) if self.clamp else pull
        degree = degrees(node, n)
        return push.mean() - math.log(n) - (pull / degree[node]).sum() / (n * self.temperature)

    def embed_graph(self, graph: Graph) -> Tensor:
        return self.points.all_of(len(graph.features))


def clamped_logsumexp(scores: Scores, most: float) -> Tensor:
    """log sum exp over the keys of each query, (m,), of scores that are `most` times a cosine.

    A cosine below `LEAST` counts as that, and has no gradient: what is more than a right angle away is not pushed.
    """
    return scores.sum(lambda s: (s.clamp(min=LEAST * most) - most).exp()).log() + most
