"""One object a picture: what links it, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.benchmark import Metrics
from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.worlds.scenes import Scenes
from data.benchmarks.worlds.single_objects import WRONG, SingleObjects, few_shot
from data.scenes.layout import split_of
from data.scenes.single import (
    GROUPS,
    RELATIONS,
    TEMPLATES,
    group_graph,
    group_of,
    relation_partners,
    shuffled_graph,
    things_in,
)
from data.scenes.words import CLASSES, meaning
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


def ready(fetched, **switches) -> SingleObjects:
    fetched(TUXPAINT_STAMPS)
    benchmark = SingleObjects(**switches)
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def single(fetched) -> SingleObjects:
    return ready(fetched)


class Knows(nn.Module):
    """Embeds pictures and captions by what they show: the same row for the same object; one attribute if asked."""

    def __init__(self, benchmark: SingleObjects) -> None:
        super().__init__()
        self.shown, self.said = {}, {}
        for split in ("val", "test"):
            part, things = benchmark.splits[split], things_in(benchmark.stored[split].things)
            for picture, text, thing in zip(part.pixels, part.texts[0], things, strict=True):
                self.shown[picture.numpy().tobytes()] = self.said[text] = thing

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.rows([self.shown[picture.numpy().tobytes()] for picture in pixels])

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.rows(
            [self.said.get(text, (int(uniform(torch.tensor([len(text)]), 1, 0) * 999) + 99,)) for text in texts]
        )

    def rows(self, things: list) -> Tensor:
        return uniform(torch.tensor([hash(tuple(thing)) % 2**40 for thing in things]), 256, 1) - 0.5

    def embed_related(self, pixels: Tensor, texts: list[str], relations: list[str]) -> tuple[Tensor, Tensor]:
        shown, said = [self.shown[picture.numpy().tobytes()] for picture in pixels], [self.said[text] for text in texts]
        fields = [RELATIONS.index(relation.split()[-1]) for relation in relations]
        image, text = (torch.stack([self.of(k, part) for k in fields]) for part in (shown, said))
        return image, text

    def of(self, field: int, things: list) -> Tensor:
        # Two cut-outs do not share that they have no colour of their own.
        return self.rows([(field, thing[field]) if thing[field] >= 0 else (field, *thing) for thing in things])


class KnowsKinds(Knows):
    """As if every relation were that of the kind."""

    def embed_related(self, pixels: Tensor, texts: list[str], relations: list[str]) -> tuple[Tensor, Tensor]:
        image, text = super().embed_related(pixels, texts, ["the same kind"])
        return image.expand(len(relations), -1, -1), text.expand(len(relations), -1, -1)


def test_counts_and_a_known_sample(single: SingleObjects) -> None:
    assert single.sizes() == {"train": 6000, "val": 1000, "test": 2000} and len(single.train.ids) == 3000
    assert single.splits["test"].pixels.shape == (2000, 3, 48, 48)
    for split, part in single.stored.items():
        assert {split_of(meaning((thing,))) for thing in things_in(part.things)} == {split}
        assert (part.numbers.diff() > 0).all()
    other = Scenes()
    other.setup()
    numbers = {number for part in other.splits.values() for number in part.ids.tolist()}
    assert not numbers & set(torch.cat([part.numbers for part in single.stored.values()]).tolist())


def test_perfect_scores(single: SingleObjects) -> None:
    found = single.evaluate(Knows(single))
    assert found["mrr/gallery2000"] == 1
    floor = single.floor()
    assert floor["pixels to words"].keys() - floor["chance"].keys() <= {"modality_gap", "zero_shot/mrr"}
    assert floor["pixels to words"]["mrr/gallery2000"] > floor["chance"]["mrr/gallery2000"]
    assert found["zero_shot/mrr"].items.shape == (2000,)


def test_hidden_groups_link_classes(fetched) -> None:
    linked = ready(fetched, structure="groups")
    groups = group_of(torch.arange(len(CLASSES)))
    assert groups.bincount().tolist() == [5] * GROUPS
    kinds, neighbours = linked.things[:, 0], linked._neighbours
    degree = (neighbours >= 0).sum(1).double()
    assert degree.mean() == pytest.approx(6, abs=0.1) and degree.min() >= 2  # who draws one twice has it once
    rows, _ = (neighbours >= 0).nonzero(as_tuple=True)
    partners = neighbours[neighbours >= 0]
    assert not (rows == partners).any()
    edges = set(zip(rows.tolist(), partners.tolist(), strict=True))
    assert edges == {(b, a) for a, b in edges}
    assert (group_of(kinds[rows]) == group_of(kinds[partners])).double().mean() == pytest.approx(0.8, abs=0.03)
    moved = shuffled_graph(neighbours, linked.train.ids, 1)
    assert sorted((moved >= 0).sum(1).tolist()) == sorted((neighbours >= 0).sum(1).tolist())
    rows, _ = (moved >= 0).nonzero(as_tuple=True)
    partners = moved[moved >= 0]
    assert (group_of(kinds[rows]) == group_of(kinds[partners])).double().mean() < 0.2
    assert group_graph(kinds, linked.train.ids, 1.0, 2, 0).shape[0] == 3000

    (batch,) = [linked.augmented(next(iter(linked.train_dataloader())), 0)]
    inside = torch.isin(batch.neighbours, batch.ids) & (batch.neighbours >= 0)
    assert inside.sum(1).double().mean() > 1.5, "neighbours stand beside each other"
    assert batch.neighbours.shape == (64, neighbours.shape[1])


def test_relations_link_what_shares_that_and_nothing_else(fetched) -> None:
    linked = ready(fetched, structure="relations", train_size=1000, concepts=True, caption_noise=0.5)
    things = linked.things
    partners = relation_partners(things, linked.train.ids, 0, 7)
    for number in range(len(RELATIONS)):
        rows = (partners[:, number] >= 0).nonzero().flatten()
        one, other = things[rows], things[partners[rows, number]]
        same = (one == other) & (one >= 0)
        assert same[:, number].all() and same.sum(1).eq(1).all()
    assert (partners[:, [0, 2, 3]] >= 0).double().mean() > 0.95
    assert torch.equal(partners[:, 1] >= 0, things[:, 1] >= 0)
    assert torch.equal(linked._neighbours, partners)
    batch = linked.augmented(take(linked.train, torch.arange(5)), 0)
    assert torch.equal(batch.concepts[:, : len(CLASSES)].int().argmax(1), things[:5, 0])
    assert (batch.concepts.sum(1) == (things[:5] >= 0).sum(1)).all()
    expected = [linked.train.ids[row] if row >= 0 else -1 for row in partners[:5].flatten().tolist()]
    assert batch.neighbours.flatten().tolist() == [int(x) for x in expected] and -1 in expected


def test_a_query_by_relation_has_one_right_candidate(fetched) -> None:
    linked = ready(fetched, structure="relations", train_size=64)
    asked, candidates = linked.queries("test")
    things = linked.stored["test"].things
    assert len(asked) > 1900 and candidates.shape == (len(asked), 1 + 2 * WRONG)
    one, others = things[asked[:, 0], None], things[candidates]
    same = (one == others) & (one >= 0)
    by_relation = same.gather(2, asked[:, 1, None, None].expand(-1, 1 + 2 * WRONG, 1)).squeeze(2)
    assert by_relation[:, 0].all() and not by_relation[:, 1:].any()
    assert same[:, 1 : 1 + WRONG].any(2).all() and not same[:, 1 + WRONG :].any()
    assert not (candidates == asked[:, :1]).any()
    found = linked.evaluate(Knows(linked))
    assert {name: found[name] for name in found if name.startswith("rel")} == {
        **{f"related{by}/mrr/of21": 1.0 for by in ("", "_kind", "_colour", "_size", "_place", "_ti", "_it", "_tt")},
        **{"related_ii/mrr/of21": 1.0, "related/recall@5/of21": 1.0, "relation/top1": 1.0},
    }
    assert found["related/mrr/of21"].items.shape == found["relation/top1"].items.shape == (len(asked),)
    other = linked.evaluate(KnowsKinds(linked))
    assert other["related_kind/mrr/of21"] == 1 and other["related_place/mrr/of21"] < 0.15
    assert other["relation/top1"] == 0, "alike under all relations is no answer"
    floor = linked.floor()["chance"]
    assert {name for name in found if name.startswith("rel")} == {name for name in floor if name.startswith("rel")}


def test_batches_have_words_for_their_links(fetched) -> None:
    linked = ready(fetched, structure="relations", train_size=64)
    batch = linked.augmented(take(linked.train, torch.arange(5)), 0)
    assert len(batch.relations) == batch.neighbours.shape[1] == len(RELATIONS)
    for name, words in zip(RELATIONS, batch.relations, strict=True):
        assert all(name in text.split() for text in words) and TEMPLATES[-1].format(name) not in words
    groups = ready(fetched, structure="groups", train_size=64)
    assert groups.augmented(take(groups.train, torch.arange(5)), 0).relations == ()


def test_few_shots_are_told_apart() -> None:
    labels = torch.arange(80) % 8
    rows = torch.eye(8)[labels]
    assert few_shot(rows, labels) == 1 and few_shot(rows, labels).items.shape == (80,)
    noise = nn.functional.normalize(torch.randn(80, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert few_shot(noise, labels) < 0.3


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"structure": "tree"}, "structure"),
        ({"degree": 3}, "degree"),
        ({"homophily": 2}, "homophily"),
        ({"mentions": ["weight"]}, "mentions"),
    ],
)
def test_what_is_out_of_range_is_named(switch: Metrics, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SingleObjects(**switch)
