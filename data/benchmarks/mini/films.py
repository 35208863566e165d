"""Films as nodes of a heterogeneous graph: which of three genres, told by who made them."""

from collections import Counter

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import HeteroGraph
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.means import Mean, average
from common.evaluation.probe import linear_probe
from common.protocols import EmbedsNodes
from common.random import uniform
from common.sampling.batches import ResumableLoader
from data.benchmarks.bases.graphs import steps
from data.sources.recbole import RECBOLE, read_movielens

CLASSES = ("m.02kdv5l", "m.05p553", "m.02l7c8")
"""Three genres by their Freebase ids; the graph has no names (Freebase called them action, comedy and romance film)."""
GENRE = "film.film.genre"
PEOPLE = {
    "actor": "film.film.actor",
    "director": "film.film.directed_by",
    "writer": "film.film.written_by",
    "producer": "film.film.produced_by",
}
"""Kinds of edges from a film; two films with a neighbour in common are joined by the meta-path through that kind."""
FEATURES = (
    "film.film.country", "film.film.language", "film.film.production_companies", "film.film.subjects",
    "film.film.award_nomination", "film.film.award_won", "film.film.cinematography",
)  # fmt: skip
SIZES = {"val": 40, "test": 60}
"""Films of each class in the scored splits."""
SHOTS, DRAWS = 20, 10
"""Labelled films of each class that the probe is fitted on, and how many such draws are averaged."""


class Films(Benchmark):
    """721 films of Freebase that are of exactly one of three genres, after the IMDB graph of Wang et al. (2019).

    Features say which countries, languages, companies, subjects, awards and cameramen five films or more have in
    common. Genres and age ratings are no part of the graph. A method sees all nodes and no labels (transductive, as is
    usual on such graphs); what it may use labels of, if any, are the train films: 421, beside 120 for validation and
    180 for the test.

    Args:
        batch_size: films in a step's `ids`; the graph is whole in each.
        seed, data_root: as in `Benchmark`.
    """

    name = "films"
    primary = "probe_linear_20shot/macro_f1"
    sources = (RECBOLE,)
    classes = CLASSES

    def __init__(self, batch_size: int = 256, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Tensor] = {}

    def build(self) -> None:
        tables = read_movielens(self.data_root)
        triples = [(row["head_id"], row["relation_id"], row["tail_id"]) for row in tables["kg"]]
        genres: dict[str, list[int]] = {}
        for head, of, tail in triples:
            if of == GENRE and tail in CLASSES:
                genres.setdefault(head, []).append(CLASSES.index(tail))
        found = sorted(row["entity_id"] for row in tables["link"] if len(genres.get(row["entity_id"], [])) == 1)
        self.labels = torch.tensor([genres[entity][0] for entity in found])
        film = {entity: at for at, entity in enumerate(found)}
        edges = []
        for relation in PEOPLE.values():
            pairs = [(film[head], tail) for head, of, tail in triples if of == relation and head in film]
            person = {name: at for at, name in enumerate(sorted({name for _, name in pairs}))}
            edges.append(torch.tensor([[head, person[tail]] for head, tail in pairs]).T.contiguous())
        traits = [(film[head], tail) for head, of, tail in triples if of in FEATURES and head in film]
        counts = Counter(trait for _, trait in set(traits))
        column = {trait: at for at, trait in enumerate(sorted(t for t, count in counts.items() if count >= 5))}
        features = torch.zeros(len(film), len(column))
        for head, trait in traits:
            if trait in column:
                features[head, column[trait]] = 1
        self.graph = HeteroGraph(features, tuple(edges), torch.arange(len(film)))
        self.splits = self._split()

    def _split(self) -> dict[str, Tensor]:
        order = uniform(self.graph.ids, 1, 14).flatten().argsort(stable=True)
        members = [order[self.labels[order] == label] for label in range(len(CLASSES))]
        val, test = SIZES["val"], SIZES["val"] + SIZES["test"]
        return {
            "train": torch.cat([part[test:] for part in members]),
            "val": torch.cat([part[:val] for part in members]),
            "test": torch.cat([part[val:test] for part in members]),
        }

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return steps(self.graph).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """A linear probe on 20 train films of each class, the mean of 10 fixed draws.

        Returns:
            `probe_linear_20shot/macro_f1`, `probe_linear_20shot/top1`.

        Raises:
            UserError: the module does not offer `embed_nodes` or returns another number of rows, or there is no such
                split.
        """
        self.setup()
        self.check_request(module, split, EmbedsNodes)
        with evaluating(module):
            rows = F.normalize(module.embed_nodes(self.graph).float().cpu(), dim=1)
        if len(rows) != len(self.labels):
            raise UserError(f"embed_nodes returned {len(rows)} rows for {len(self.labels)} films")
        train, scored = self.splits["train"], self.splits[split]
        f1, right = [], []
        for draw in range(DRAWS):
            order = train[uniform(train, 1, 15, draw).flatten().argsort(stable=True)]
            few = torch.cat([order[self.labels[order] == label][:SHOTS] for label in range(len(CLASSES))])
            predicted = linear_probe(rows[few], self.labels[few], rows[scored])
            f1.append(float(f1_score(self.labels[scored], predicted, average="macro")))
            right.append(Mean(predicted == self.labels[scored]))
        return {f"probe_linear_{SHOTS}shot/macro_f1": average(f1), f"probe_linear_{SHOTS}shot/top1": average(right)}

    def floor(self) -> dict[str, Metrics]:
        """Random rows, the features alone, and the mean of the features over each film and its neighbours."""
        self.setup()
        return {
            "chance": self.evaluate(_Rows(uniform(self.graph.ids, 64, 16) - 0.5)),
            "features": self.evaluate(_Rows(self.graph.features)),
            "smoothed features": self.evaluate(_Rows(self.joined() @ self.graph.features)),
        }

    def joined(self) -> Tensor:
        """The mean over the kinds of edges of the row-normalized counts of common neighbours, shape (n, n)."""
        self.setup()
        n = len(self.labels)
        total = torch.zeros(n, n)
        for film, person in self.graph.edges:
            held = torch.zeros(n, int(person.max()) + 1)
            held[film, person] = 1
            common = held @ held.T
            total += common / common.sum(dim=1, keepdim=True).clamp(min=1)
        return total / len(self.graph.edges)

    def example(self) -> str:
        self.setup()
        counts = ", ".join(f"{e.shape[1]:,} to {kind}s" for kind, e in zip(PEOPLE, self.graph.edges, strict=True))
        films = [f"{self.classes[self.labels[at]]}: {int(self.graph.features[at].sum())} features" for at in range(5)]
        return "\n".join([f"{len(self.labels)} films; edges: {counts}", *films])

    def fingerprint(self) -> str:
        self.setup()
        return digest(self.labels, self.graph.features.bool(), *self.graph.edges, *self.splits.values())


class _Rows(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def embed_nodes(self, graph: HeteroGraph) -> Tensor:
        return self.rows
