"""A stochastic block model: are the blocks found, and what becomes of the smallest? Generated."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Graph
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.clusters import kmeans_ari, spectral_embedding
from common.evaluation.embed import evaluating
from common.evaluation.means import Mean
from common.protocols import EmbedsGraph
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from data.benchmarks.bases.graphs import steps


class BlockModel(Benchmark):
    """Three blocks of nodes; an edge joins two nodes of a block with one probability, of the first two with another.

    After the simulation of Maity et al. (2024), where the first block is a minority that is like the second: a
    contrastive embedding merges it the more the smaller it is. Nothing of the blocks is told, so every node is embedded
    and the scored splits are disjoint halves of each block. The edges are few: whoever knew the probabilities and the
    other nodes' blocks would name every node's block, but rows of the adjacency matrix and its leading eigenvectors do
    not show them all. The paper's own graphs are dense (0.95 and 0.4), where even those rows give the blocks away.

    Args:
        batch_size: nodes in a step's `ids`; the graph is whole in each.
        seed: fixes the order of the nodes, and the graph if it is to be drawn.
        sizes_of_blocks: nodes of each block.
        within: probability of an edge within a block.
        between: probability of an edge between the first and the second block; the third has none to either.
        graph: "fixed", one graph for every seed, or "drawn", by the seed; floors are those of the graph of seed 0.

    Raises:
        UserError: an argument is out of range.
    """

    name = "block_model"
    primary = "kmeans/ari"

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        sizes_of_blocks: Sequence[int] = (32, 128, 128),
        within: float = 0.15,
        between: float = 0.05,
        graph: Literal["fixed", "drawn"] = "fixed",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if len(sizes_of_blocks) != 3 or min(sizes_of_blocks) < 4:
            raise UserError(f"data.sizes_of_blocks is {sizes_of_blocks!r}; it must be three numbers, each at least 4")
        for key, value in (("within", within), ("between", between)):
            if not 0 <= value <= 1:
                raise UserError(f"data.{key} is {value}; it must be in [0, 1]")
        if graph not in ("fixed", "drawn"):
            raise UserError(f"data.graph is {graph!r}; it must be 'fixed' or 'drawn'")
        self.sizes_of_blocks = tuple(sizes_of_blocks)
        self.within = within
        self.between = between
        self.drawn = graph == "drawn"
        self.splits: dict[str, Tensor] = {}

    def build(self) -> None:
        self.blocks = torch.arange(3).repeat_interleave(torch.tensor(self.sizes_of_blocks))
        n = len(self.blocks)
        chance = torch.diag(torch.full((3,), self.within))
        chance[0, 1] = chance[1, 0] = self.between
        # One draw for each unordered pair of nodes.
        draw = uniform(torch.arange(n), n, 31, *([self.seed] if self.drawn else [])).triu(1)
        joined = (draw < chance[self.blocks][:, self.blocks]).triu(1)
        self.graph = Graph(
            torch.eye(n), (joined | joined.T).nonzero().T.contiguous(), torch.full((n,), torch.nan), torch.arange(n)
        )
        half = torch.cat([torch.arange(size) % 2 for size in self.sizes_of_blocks])
        self.splits = {"train": torch.arange(n), "val": half.eq(0).nonzero()[:, 0], "test": half.nonzero()[:, 0]}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return steps(self.graph).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Clusters the normalized rows of the split's nodes into three, and compares the blocks' mean directions.

        Returns:
            `kmeans/ari`, the adjusted Rand index of clusters and blocks; `cosine/minority_twin`, of the mean rows of
            the first and second block; `pair_cosine/minority_twin`, the mean over all pairs of a node of the first and
            one of the second, an item being a node of the second, `pair_cosine/twin_other` of the second and third, and
            `pair_cosine/minority_other` of the first and third, an item being a node of the third;
            `pair_cosine/twin_over_other`, by how much the first stands nearer to the second than to the third;
            `cosine/within`, the mean over nodes of the cosine with their block's mean.

        Raises:
            UserError: the module does not offer `embed_graph`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsGraph)
        with evaluating(module):
            rows = F.normalize(embeds.embed_graph(self.graph).float().cpu(), dim=1)[self.splits[split]]
        blocks = self.blocks[self.splits[split]]
        centres = torch.stack([rows[blocks == block].mean(dim=0) for block in range(3)])
        means, twins = F.normalize(centres, dim=1), rows[blocks == 1]
        other = centres[2] @ centres[0]
        return {
            "kmeans/ari": kmeans_ari(rows, blocks),
            "cosine/minority_twin": float(means[0] @ means[1]),
            "pair_cosine/minority_twin": Mean(twins @ centres[0]),
            "pair_cosine/twin_other": Mean(twins @ centres[2]),
            "pair_cosine/minority_other": Mean(rows[blocks == 2] @ centres[0]),
            "pair_cosine/twin_over_other": Mean(twins @ centres[0] - other),
            "cosine/within": Mean((rows * means[blocks]).sum(dim=1)),
        }

    def floor(self) -> dict[str, Metrics]:
        """Random directions, rows of the adjacency matrix, and spectral embedding by the normalized Laplacian."""
        self.setup()
        adjacency = self.graph.adjacency()
        return {
            "chance": self.evaluate(_Rows(normal(torch.arange(len(adjacency)), 16, 32))),
            "adjacency": self.evaluate(_Rows(adjacency)),
            "spectral": self.evaluate(_Rows(spectral_embedding(adjacency, 3))),
        }

    def example(self) -> str:
        self.setup()
        return f"blocks of {self.sizes_of_blocks}, {self.graph.edges.shape[1] // 2:,} edges"

    def fingerprint(self) -> str:
        self.setup()
        if self.drawn:
            return digest((1, self.sizes_of_blocks, self.within, self.between, self.blocks.tolist()))
        return digest(self.sizes_of_blocks, self.graph.edges, *self.splits.values())


class _Rows(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def embed_graph(self, graph: Graph) -> Tensor:
        return self.rows
