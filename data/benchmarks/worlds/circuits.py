"""Graphs that stand for circuits: a long-tailed quantity of every node, told on one and asked on another. Generated."""

from collections.abc import Callable

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from common.batches import Graph
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.means import Mean
from common.protocols import PredictsNodes
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from data.benchmarks.bases.graphs import steps

NODES = {"train": 2000, "val": 600, "test": 600}
TYPES, COMMUNITIES = 6, 20
EDGES = (0.2, 0.4, 0.6, 0.8)
"""Borders of the five classes of the target, as in CircuitGCL."""
_BORDERS = torch.tensor([(kind / TYPES) ** (2 / 3) for kind in range(1, TYPES)], dtype=torch.float64)


class Circuits(Benchmark):
    """Nodes of six types whose target in [0, 1] grows with their neighbours: graphs of 2,000, 600 and 600 nodes.

    In the train graph half of the targets are below 0.2; in the graphs that are scored the communities are denser and a
    tenth are. So a loss that follows the labels of the train graph pays on the others. The circuits of Shen et al.
    (2025), which these stand for, are not public.

    Args:
        batch_size: nodes in a step's `ids`; the train graph is whole in each, with its targets.
        seed: fixes the order of the nodes; the graphs are the same for every seed.
    """

    name = "circuits"
    primary = "r2/shifted"

    def __init__(self, batch_size: int = 512, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Graph] = {}

    def build(self) -> None:
        self.splits = {split: _graph(nodes, key) for key, (split, nodes) in enumerate(NODES.items())}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return steps(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Predictions for the nodes of a graph that was never trained on, with its targets hidden.

        Returns:
            `r2/shifted`, `mae/shifted`; `mae/balanced`, the mean over the five classes of the mean error in each; and
            `macro_f1/5classes`, of predictions and targets cut at 0.2, 0.4, 0.6 and 0.8.

        Raises:
            UserError: the module does not offer `predict_nodes` or predicts another number of nodes, or there is no
                such split.
        """
        self.setup()
        self.check_request(module, split, PredictsNodes)
        graph = self.splits[split]
        with evaluating(module):
            predicted = module.predict_nodes(graph._replace(target=torch.full_like(graph.target, torch.nan)))
        if predicted.shape != graph.target.shape:
            raise UserError(f"predict_nodes returned {tuple(predicted.shape)} for {len(graph.target)} nodes")
        predicted, target = predicted.double().cpu(), graph.target.double()
        error, (said, right) = (predicted - target).abs(), (classes_of(x) for x in (predicted, target))
        return {
            "r2/shifted": float(1 - error.square().mean() / target.var(correction=0)),
            "mae/shifted": Mean(error),
            "mae/balanced": float(torch.stack([error[right == label].mean() for label in right.unique()]).mean()),
            "macro_f1/5classes": float(f1_score(right, said, labels=right.unique(), average="macro", zero_division=0)),
        }

    def floor(self) -> dict[str, Metrics]:
        """The train graph's mean, and a line through its degrees."""
        self.setup()
        train = self.splits["train"]
        x = torch.stack([degrees(train).double(), torch.ones(len(train.target), dtype=torch.float64)], dim=1)
        slope, base = torch.linalg.lstsq(x, train.target.double()[:, None]).solution[:, 0]
        return {
            "mean": self.evaluate(_Says(lambda graph: train.target.mean().expand(len(graph.target)))),
            "degree": self.evaluate(_Says(lambda graph: slope * degrees(graph) + base)),
        }

    def sizes(self) -> dict[str, int]:
        return dict(NODES)

    def example(self) -> str:
        self.setup()
        counts = [(split, classes_of(graph.target).bincount(minlength=5)) for split, graph in self.splits.items()]
        return "\n".join(f"{split}: targets by fifth of the range {found.tolist()}" for split, found in counts)

    def fingerprint(self) -> str:
        """Of the edges and the types, which are exact on every machine, and a version of what makes targets of them."""
        self.setup()
        tensors = (x for graph in self.splits.values() for x in (graph.edges, graph.features.long()))
        return digest(b"1", *tensors)


def degrees(graph: Graph) -> Tensor:
    """Neighbours of each node, int64 of shape (n,)."""
    return graph.edges[0].bincount(minlength=len(graph.target))


def classes_of(target: Tensor) -> Tensor:
    """The fifth of the range, 0 to 4, that each target is in."""
    return torch.bucketize(target, torch.tensor(EDGES, dtype=target.dtype), right=True)


def _graph(nodes: int, key: int) -> Graph:
    ids = torch.arange(nodes)
    draw = uniform(ids, 2, 33, key)
    community = (draw[:, 0] * COMMUNITIES).long()
    # The first types are common: u^1.5 in sixths, by its borders, since a power is rounded otherwise elsewhere.
    kind = torch.bucketize(draw[:, 1].double(), _BORDERS, right=True)
    # How dense a community is decides its nodes' degrees: in the train graph few are dense.
    level = uniform(torch.arange(COMMUNITIES), 1, 34, key).flatten()
    density = 24 * (level**3 if key == 0 else level) * COMMUNITIES / nodes
    # Within a community, and one edge a node to anywhere.
    chance = density[community][:, None] * (community[:, None] == community) + 1 / nodes
    joined = (uniform(ids, nodes, 35, key) < chance).triu(1)
    edges = (joined | joined.T).nonzero().T.contiguous()
    features = torch.nn.functional.one_hot(kind, TYPES).float()
    weight = 0.5 + kind / TYPES
    around = torch.zeros(nodes).index_add_(0, edges[0], weight[edges[1]])
    target = 1 - torch.exp(-weight * around / 12) + 0.03 * normal(ids, 1, 36, key).flatten()
    return Graph(features, edges, target.clamp(0, 1), ids)


class _Says(nn.Module):
    def __init__(self, answer: Callable[[Graph], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def predict_nodes(self, graph: Graph) -> Tensor:
        return self.answer(graph)
