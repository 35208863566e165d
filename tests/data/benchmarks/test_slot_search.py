"""Queries and pairs in the language of slots: what is right, what is unseen, and which batches there are."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.worlds.slot_search import ANSWERS, QUERIES, TRAIN, SlotSearch, searches
from data.benchmarks.worlds.slots import SlotSentences
from data.slot_language import BORDER, CONCEPTS, ROLES, Language, phrases, who_does_what


@pytest.fixture(scope="module")
def world() -> SlotSearch:
    benchmark = SlotSearch()
    benchmark.setup()
    return benchmark


def test_answers_say_who_does_what_and_misses_but_for_one() -> None:
    home, ids = Language("home"), torch.arange(300)
    found = searches(home, ids, 9)
    for side in (*found.answers, *found.misses):
        assert not (side.words == found.query.words).any()
    asked = found.query.concepts[:, :BORDER]
    assert all(side.concepts[:, :BORDER].equal(asked) for side in found.answers)
    for role, side in enumerate(found.misses):
        assert ((side.concepts[:, :BORDER] != asked) == (torch.arange(BORDER) == role)).all()
    texts = home.texts(found.query)
    styles = found.query.style.tolist()
    assert {who_does_what(text) == phrases(text)[0] for text in texts} == {True, False}
    assert {(style, who_does_what(text) == phrases(text)[0]) for style, text in zip(styles, texts, strict=True)} == {
        (0, True), (1, False), (2, True), (3, False)
    }  # fmt: skip


class Knows(nn.Module):
    """The concepts of what is scored; of a query those that it tells."""

    def __init__(self, world: SlotSearch) -> None:
        super().__init__()
        self.meant = dict(world.world.meant)
        self.meant |= {who_does_what(text): meant[:BORDER] for text, meant in world.world.meant.items()}

    def embed_text(self, texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), len(ROLES), CONCEPTS)
        for row, text in zip(rows, texts, strict=True):
            told = self.meant[text]
            row[torch.arange(len(told)), torch.tensor(told)] = 1
        return rows.flatten(1)


def test_an_oracle_has_all_and_pairs_are_those_of_slots(world: SlotSearch) -> None:
    found = world.evaluate(Knows(world))
    assert found["spearman/slot_search"] == pytest.approx(1) and found["ndcg@10/slot_search"] == pytest.approx(1)
    assert found[world.primary] == pytest.approx(1)
    slots = SlotSentences()
    slots.setup()
    assert slots.worlds["home"].rated["test"].texts == world.world.rated["test"].texts


def test_nothing_that_is_scored_is_trained_on(world: SlotSearch) -> None:
    scored, trained = set(world.world.meant), world.pool
    assert not scored & {text for texts in (*trained.positives, *trained.negatives, trained.query) for text in texts}
    asked = {text for split in QUERIES for text in world.world.queries[split].queries}
    assert len(asked) == sum(QUERIES.values()) and not asked & set(trained.query)
    queries = trained.grades < 0
    assert [bool(texts) for texts in trained.negatives] == queries.tolist() and int(queries.sum()) == TRAIN
    grades = (trained.grades[~queries] * 5).round().long().bincount()
    assert len(trained.ids.unique()) == 2 * TRAIN and len(grades) == 6 and grades.min() > 900


def test_floors_do_not_count_words_and_the_data_are_pinned(world: SlotSearch) -> None:
    floors = world.floor()
    assert all(row.keys() == floors["chance"].keys() for row in floors.values())
    assert (
        floors["bag of words"]["ndcg@10/slot_search"] < 0.03 < 0.1 < floors["mean word vector"]["ndcg@10/slot_search"]
    )
    assert world.fingerprint()[:8] == "46a6d102" and world.example().startswith("query: ")


def test_batches_of_one_task_and_of_both(world: SlotSearch) -> None:
    asks = [[bool(texts) for texts in batch.negatives] for batch in world.train_dataloader()]
    assert len(asks) == 200 and sum(map(all, asks)) == 100 and sum(map(any, asks)) == 100
    batch = world.splits["train"]
    assert len(batch.positives[0]) == ANSWERS and len(batch.negatives[0]) == BORDER
    mixed = [[at < 3_200 for at in rows] for rows in SlotSearch(batches="mixed").order()]
    assert len(mixed) == 200 and all(rows == [True, False] * 16 for rows in mixed)
    alone = SlotSearch(tasks="queries", batch_size=64).order()
    assert len(alone) == 50 and len(next(iter(alone))) == 64
    assert len(SlotSearch(tasks="pairs", pair_batch_size=40).order()) == 80
    assert not SlotSearch(seed=1)._drawn(world.pool, 9).ids.equal(world._drawn(world.pool, 9).ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_size": 0}, "data.train_size is 0; it must be from 1 to 6,000"),
        ({"train_pairs": 7_000}, "data.train_pairs is 7000"),
        ({"tasks": "one"}, "data.tasks is 'one'"),
        ({"batches": "some"}, "data.batches is 'some'"),
        ({"batches": "mixed", "tasks": "pairs"}, "data.batches is 'mixed'; it needs both tasks"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SlotSearch(**arguments)
