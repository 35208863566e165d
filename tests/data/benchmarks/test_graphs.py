"""Knowledge graphs, MovieLens and films: published splits, orders of time, protocols that see."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.mini.films import CLASSES, GENRE, Films
from data.benchmarks.mini.knowledge_graph import KnowledgeGraph
from data.benchmarks.mini.movielens import MovieLens
from data.sources.pykeen import PYKEEN, read_triples
from data.sources.recbole import RECBOLE, read_movielens


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(PYKEEN, RECBOLE)


@pytest.fixture(scope="module")
def movielens() -> MovieLens:
    benchmark = MovieLens()
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def films() -> Films:
    benchmark = Films()
    benchmark.setup()
    return benchmark


class Truth(nn.Module):
    """Knows which triples are true, in all splits."""

    def __init__(self, graph: KnowledgeGraph) -> None:
        super().__init__()
        self.tails, self.heads = graph.known("tail").float(), graph.known("head").float()

    def score_tails(self, head: Tensor, relation: Tensor) -> Tensor:
        return self.tails[head, relation]

    def score_heads(self, tail: Tensor, relation: Tensor) -> Tensor:
        return self.heads[tail, relation]


class Constant(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def score_tails(self, given: Tensor, relation: Tensor) -> Tensor:
        return torch.ones(len(given), self.columns)

    score_heads = score_tails

    def score_items(self, users: Tensor) -> Tensor:
        return torch.ones(len(users), self.columns)

    def embed_nodes(self, graph) -> Tensor:
        return torch.ones(self.columns, 4)


@pytest.mark.parametrize(
    ("name", "sizes", "entities", "relations", "fingerprint", "commonest"),
    [
        ("umls", (5216, 652, 661), 135, 46, "21c1d0db", 0.646),
        ("kinships", (8544, 1068, 1074), 104, 25, "149398fd", 0.097),
        ("nations", (1592, 199, 201), 14, 55, "c68a3a8f", 0.519),
    ],
)
def test_knowledge_graph(
    name: str, sizes: tuple[int, ...], entities: int, relations: int, fingerprint: str, commonest: float
) -> None:
    graph = KnowledgeGraph(graph=name)
    graph.setup()
    assert tuple(len(graph.splits[split]) for split in ("train", "val", "test")) == sizes
    assert (len(graph.entities), len(graph.relations)) == (entities, relations)
    triples = [tuple(row) for part in graph.splits.values() for row in part.tolist()]
    assert len(set(triples)) == len(triples), "a triple stands in two splits"
    head, relation, tail = graph.splits["test"][5].tolist()
    assert read_triples(name)["test"][5] == (graph.entities[head], graph.relations[relation], graph.entities[tail])
    # What else is true is filtered out, so knowing the truth puts every answer first.
    assert graph.evaluate(Truth(graph)) == dict.fromkeys(graph.evaluate(Truth(graph)), 1.0)
    assert graph.evaluate(Constant(entities), "val")["hits@1/filtered"] < 0.35
    floor = graph.floor()
    assert floor["commonest entities"][graph.primary] == pytest.approx(commonest, abs=1e-3)
    assert floor["chance"][graph.primary] < floor["commonest entities"][graph.primary]
    assert floor["chance"].keys() == floor["commonest entities"].keys()
    assert graph.fingerprint()[:8] == fingerprint
    assert KnowledgeGraph(graph=name, seed=3).fingerprint() == graph.fingerprint()


def test_a_constant_is_last_among_what_is_not_known() -> None:
    graph = KnowledgeGraph()
    graph.setup()
    head, relation, tail = graph.splits["test"].T
    others = torch.cat([(~graph.known("tail")[head, relation]).sum(1), (~graph.known("head")[tail, relation]).sum(1)])
    found = graph.evaluate(Constant(135))["mrr/filtered"]
    assert found == pytest.approx(float((1 / (others + 1).double()).mean()))


def test_triples_come_in_batches() -> None:
    graph = KnowledgeGraph(batch_size=100)
    batches = list(graph.train_dataloader())
    assert len(batches) == 52
    seen = {(int(h), int(r), int(t)) for b in batches for h, r, t in zip(b.head, b.relation, b.tail, strict=True)}
    assert len(seen) == 5200 and seen <= {tuple(row) for row in graph.splits["train"].tolist()}


def test_people_like_films_in_the_order_of_time(movielens: MovieLens) -> None:
    assert {split: len(pairs) for split, pairs in movielens.splits.items()} == {
        "train": 38525, "val": 5513, "test": 11011
    }  # fmt: skip
    assert (movielens.users, len(movielens.titles)) == (897, 1447)
    pairs = [tuple(pair) for part in movielens.splits.values() for pair in part.tolist()]
    assert len(set(pairs)) == len(pairs)
    title = {row["item_id"]: row["movie_title"] for row in read_movielens()["item"]}
    ratings = [row for row in read_movielens()["inter"] if row["user_id"] == "1" and row["rating"] >= 4]
    when = {title[row["item_id"]]: row["timestamp"] for row in ratings}
    days = {
        split: [when[movielens.titles[film]] for user, film in part.tolist() if user == 0]
        for split, part in movielens.splits.items()
    }
    assert max(days["train"]) <= min(days["val"]) <= max(days["val"]) <= min(days["test"])
    at = movielens.titles.index("Toy Story")
    assert movielens.genres[at] == ["Animation", "Children's", "Comedy"] and movielens.years[at] == "1995"


class Liking(Constant):
    """Knows what people will like; each half of them, if told so."""

    def __init__(self, benchmark: MovieLens, everyone: bool) -> None:
        super().__init__(1447)
        self.liked = benchmark.liked("test").float()
        if not everyone:
            self.liked[::2] = 0

    def score_items(self, users: Tensor) -> Tensor:
        return self.liked[users]


def test_movielens_protocol(movielens: MovieLens) -> None:
    found = movielens.evaluate(Liking(movielens, everyone=True))
    assert found["ndcg@20/all_items"] == pytest.approx(1.0)
    # A list of 20 cannot hold what somebody with more films left will like.
    best = (20 / movielens.liked("test").sum(1).clamp(min=20)).double().mean()
    assert found[movielens.primary] == pytest.approx(float(best))
    half = movielens.evaluate(Liking(movielens, everyone=False))[movielens.primary]
    assert 0.4 < half / found[movielens.primary] < 0.6
    assert movielens.evaluate(Constant(1447))[movielens.primary] == 0
    floor = movielens.floor()
    assert floor["most liked"][movielens.primary] == pytest.approx(0.102, abs=1e-3)
    assert floor["chance"][movielens.primary] == pytest.approx(20 / 1447, abs=3e-3)
    assert floor["chance"].keys() == floor["most liked"].keys() == found.keys()


def test_what_is_known_is_not_recommended(movielens: MovieLens) -> None:
    class Known(Constant):
        def score_items(self, users: Tensor) -> Tensor:
            return 2 * movielens.liked("train")[users].float() + movielens.liked("val")[users]

    assert movielens.evaluate(Known(1447), "val")["ndcg@20/all_items"] == pytest.approx(1.0)
    assert movielens.evaluate(Known(1447), "test")[movielens.primary] < 0.01


def test_movielens_batches_and_fingerprint(movielens: MovieLens) -> None:
    batch = next(iter(movielens.train_dataloader()))
    assert movielens.liked("train")[batch.user, batch.item].all() and len(batch.ids.unique()) == 1024
    assert movielens.fingerprint()[:8] == "b5a20cb2"


def test_films_and_their_graph(films: Films) -> None:
    assert {split: len(part) for split, part in films.splits.items()} == {"train": 421, "val": 120, "test": 180}
    assert films.labels.bincount().tolist() == [176, 343, 202] and len(films.classes) == 3
    assert torch.cat(list(films.splits.values())).sort().values.equal(torch.arange(721))
    assert films.labels[films.splits["test"]].bincount().tolist() == [60] * 3
    assert films.graph.features.shape == (721, 264) and films.graph.features.sum(0).min() >= 5
    assert len(films.graph.edges) == 4
    # Films with a director in common are of one genre in three of four cases; the genres are no part of the graph.
    film, person = films.graph.edges[1]
    held = torch.zeros(721, int(person.max()) + 1)
    held[film, person] = 1
    common = (held @ held.T).fill_diagonal_(0)
    same = films.labels[:, None] == films.labels
    assert float((common * same).sum() / common.sum()) == pytest.approx(0.75, abs=0.01)
    assert GENRE not in ("film.film.actor", "film.film.directed_by") and len(CLASSES) == 3


def test_films_protocol(films: Films) -> None:
    class Cheat(nn.Module):
        def embed_nodes(self, graph) -> Tensor:
            return torch.nn.functional.one_hot(films.labels).float()

    assert films.evaluate(Cheat())[films.primary] == pytest.approx(1.0)
    assert films.evaluate(Constant(721), "val")[films.primary] == pytest.approx(1 / 6)  # one class for all
    with pytest.raises(UserError, match="returned 5 rows for 721 films"):
        films.evaluate(Constant(5))
    floor = films.floor()
    assert floor["chance"].keys() == floor["features"].keys() == floor["smoothed features"].keys()
    assert floor["chance"][films.primary] == pytest.approx(1 / 3, abs=0.04)
    assert floor["features"][films.primary] == pytest.approx(0.459, abs=5e-3)
    assert films.fingerprint()[:8] == "b1b074ba"
    batch = next(iter(films.train_dataloader()))
    assert batch.features.shape == (721, 264) and len(batch.ids) == 256


def test_the_table_of_films_and_entities_is_scrambled() -> None:
    """Why MovieLens comes without the graph: a genre of Freebase says nothing about the genres of the linked films."""
    tables = read_movielens()
    about = {row["item_id"]: set(row["class"]) for row in tables["item"]}
    film = {row["entity_id"]: row["item_id"] for row in tables["link"]}
    heads = {row["head_id"] for row in tables["kg"] if row["relation_id"] == GENRE and row["tail_id"] == CLASSES[0]}
    action = sum("Action" in about[film[head]] for head in heads) / len(heads)
    base = sum("Action" in classes for classes in about.values()) / len(about)
    assert len(heads) > 200 and abs(action - base) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KnowledgeGraph(graph="fb15k"), "data.graph is 'fb15k'; it must be one of nations, kinships, umls"),
        (lambda: KnowledgeGraph().evaluate(nn.Linear(1, 1)), "needs a module with score_tails; Linear has none"),
        (lambda: MovieLens().evaluate(nn.Linear(1, 1)), "needs a module with score_items; Linear has none"),
        (lambda: Films().evaluate(nn.Linear(1, 1), "train"), "split is 'train'; it must be 'val' or 'test'"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
