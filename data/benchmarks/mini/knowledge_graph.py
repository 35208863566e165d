"""Knowledge graph completion on three small graphs: which entity makes the triple true?"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from common.batches import Triples
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.links import filtered_ranks, link_metrics
from common.protocols import ScoresTriples
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.sources.pykeen import PYKEEN, Graph, read_triples


class KnowledgeGraph(Benchmark):
    """UMLS (135 entities, 46 relations, 5,216 train triples), Kinships (104, 25; 8,544) or Nations (14, 55; 1,592).

    The splits are the published ones.
    `entities` and `relations` are their names, in the order of their numbers; those of UMLS and Nations are words.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        graph: "umls", "kinships" or "nations".
    """

    name = "knowledge_graph"
    primary = "mrr/filtered"
    sources = (PYKEEN,)

    def __init__(
        self, batch_size: int = 256, seed: int = 0, data_root: str | None = None, graph: Graph = "umls"
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if graph not in get_args(Graph):
            raise UserError(f"data.graph is {graph!r}; it must be one of {', '.join(get_args(Graph))}")
        self.graph = graph
        self.splits: dict[str, Tensor] = {}
        self.entities: list[str] = []
        self.relations: list[str] = []

    def build(self) -> None:
        found = read_triples(self.graph, self.data_root)
        every = [triple for triples in found.values() for triple in triples]
        self.entities = sorted({end for head, _, tail in every for end in (head, tail)})
        self.relations = sorted({relation for _, relation, _ in every})
        entity = {name: number for number, name in enumerate(self.entities)}
        relation = {name: number for number, name in enumerate(self.relations)}
        self.splits = {
            split: torch.tensor([[entity[head], relation[of], entity[tail]] for head, of, tail in triples])
            for split, triples in found.items()
        }

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        train = self.splits["train"]
        triples = Triples(*train.unbind(1), torch.arange(len(train)))
        return Table(triples).loader(self.batch_size, self.seed)

    def known(self, side: Literal["head", "tail"]) -> Tensor:
        """What is true in any split, bool of shape (entities, relations, entities): the asked side comes last."""
        head, relation, tail = torch.cat(list(self.splits.values())).T
        given, asked = (head, tail) if side == "tail" else (tail, head)
        truth = torch.zeros(len(self.entities), len(self.relations), len(self.entities), dtype=torch.bool)
        truth[given, relation, asked] = True
        return truth

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Each triple asks for its tail and for its head among all entities; what else is true does not count.

        Returns:
            `mrr`, `hits@1`, `hits@3` and `hits@10`, each with `/filtered`, over both questions.

        Raises:
            UserError: the module does not offer `score_tails` and `score_heads`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, ScoresTriples)
        head, relation, tail = self.splits[split].T
        ranks = []
        with evaluating(module):
            for given, asked, side, score in (
                (head, tail, "tail", module.score_tails),
                (tail, head, "head", module.score_heads),
            ):
                scores = score(given, relation).float().cpu()
                ranks.append(filtered_ranks(scores, asked, self.known(side)[given, relation]))
        return {f"{name}/filtered": value for name, value in link_metrics(torch.cat(ranks)).items()}

    def floor(self) -> dict[str, Metrics]:
        """Random scores, and each relation's commonest entities."""
        self.setup()
        return {
            "chance": self.evaluate(_Guess(len(self.entities))),
            "commonest entities": self.evaluate(_Commonest(self.splits["train"], self)),
        }

    def example(self) -> str:
        self.setup()
        named = self.entities, self.relations, self.entities
        rows = self.splits["train"][:5].tolist()
        return "\n".join("  ".join(kind[at] for kind, at in zip(named, row, strict=True)) for row in rows)

    def fingerprint(self) -> str:
        self.setup()
        return digest((self.entities, self.relations), *self.splits.values())


class _Guess(nn.Module):
    def __init__(self, entities: int) -> None:
        super().__init__()
        self.entities = entities

    def score_tails(self, given: Tensor, relation: Tensor) -> Tensor:
        return uniform(torch.arange(len(given)), self.entities, 11)

    def score_heads(self, given: Tensor, relation: Tensor) -> Tensor:
        return uniform(torch.arange(len(given)), self.entities, 12)


class _Commonest(nn.Module):
    """Scores an entity by how often it stands on that side of the relation."""

    def __init__(self, train: Tensor, graph: KnowledgeGraph) -> None:
        super().__init__()
        shape = len(graph.relations), len(graph.entities)
        one = torch.ones(len(train))
        self.heads, self.tails = (
            torch.zeros(shape).index_put_((train[:, 1], train[:, column]), one, accumulate=True) for column in (0, 2)
        )

    def score_tails(self, given: Tensor, relation: Tensor) -> Tensor:
        return self.tails[relation]

    def score_heads(self, given: Tensor, relation: Tensor) -> Tensor:
        return self.heads[relation]
