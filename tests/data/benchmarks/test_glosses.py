from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.batches import Sentences, SentenceTriplets
from common.errors import UserError
from common.evaluation.means import Mean
from common.random import uniform
from data.benchmarks.bases.floors import BagOfWords
from data.benchmarks.mini.glosses import Gloss, Glosses, grade, graded_pairs, read_glosses
from data.sources.wordnet import WORDNET


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(WORDNET)


@pytest.fixture(scope="module")
def glosses() -> Glosses:
    benchmark = Glosses()
    benchmark.setup()
    return benchmark


class Placed(nn.Module):
    """Places every text by a function of it."""

    def __init__(self, place: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.place = place

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.place(text) for text in texts])


def test_definitions_without_examples_each_once(glosses: Glosses) -> None:
    texts = [gloss.text for part in glosses.splits.values() for gloss in part.values()]
    assert len(texts) == len(set(texts)) == len(read_glosses())
    assert not any('"' in text for text in texts)
    assert {len(text.split()) for text in texts} == set(range(4, 26))
    found = {key: gloss for part in glosses.splits.values() for key, gloss in part.items()}
    # Its line goes on with an example: `; "he owned a prize bull"` and the like.
    assert found["v", 1521621].text == "draw through eyes or holes"


def test_splits_are_apart_and_pairs_use_a_meaning_once(glosses: Glosses) -> None:
    assert glosses.sizes() == {"train": 59441, "val": 1000, "test": 2400}
    keys = [key for part in glosses.splits.values() for key in part]
    assert len(keys) == len(set(keys))
    for split, pairs in glosses.rated.items():
        owner = {gloss.text: key for key, gloss in glosses.splits[split].items()}
        assert len(pairs.texts) == 2 * len(pairs.human)
        assert sorted(torch.cat([pairs.first, pairs.second]).tolist()) == list(range(len(pairs.texts)))
        grades = [
            grade(glosses.splits[split], owner[pairs.texts[one]], owner[pairs.texts[other]])
            for one, other in zip(pairs.first, pairs.second, strict=True)
        ]
        assert grades == pairs.human.tolist()
        assert torch.tensor(grades).bincount().tolist() == [len(grades) // 4] * 4


def test_grades() -> None:
    animal, act = ("n", 5), ("n", 4)
    glosses = {
        ("n", 1): Gloss("animal", frozenset(), animal),
        ("n", 2): Gloss("dog", frozenset({("n", 1)}), animal),
        ("n", 3): Gloss("cat", frozenset({("n", 1)}), animal),
        ("n", 4): Gloss("poodle", frozenset({("n", 2)}), animal),
        ("n", 5): Gloss("walk", frozenset(), act),
    }
    expected = {(2, 1): 3, (1, 2): 3, (2, 3): 2, (4, 1): 1, (4, 3): 1, (4, 5): 0}
    assert {pair: grade(glosses, ("n", pair[0]), ("n", pair[1])) for pair in expected} == expected
    cow, stone = Gloss("cow", frozenset({("n", 1)}), animal), Gloss("stone", frozenset(), ("n", 17))
    fish = Gloss("fish", frozenset(), animal)
    pairs = graded_pairs(glosses | {("n", 6): cow, ("n", 7): fish, ("n", 8): stone}, 1)
    named = [(pairs.texts[one], pairs.texts[other]) for one, other in zip(pairs.first, pairs.second, strict=True)]
    assert named == [("dog", "animal"), ("cat", "cow"), ("poodle", "fish"), ("walk", "stone")]
    assert pairs.human.tolist() == [3, 2, 1, 0]
    with pytest.raises(UserError, match=r"WordNet gives 0 of 1 pairs of glosses 'sisters'"):
        graded_pairs({key: glosses[key] for key in (("n", 1), ("n", 2), ("n", 5))}, 1)


def test_what_is_learnt_from(glosses: Glosses) -> None:
    held_out = {gloss.text for part in ("val", "test") for gloss in glosses.splits[part].values()}
    assert held_out.isdisjoint(glosses.sentences())
    (batch, *_) = Glosses(batch_size=4).train_dataloader()
    assert isinstance(batch, Sentences) and len(batch.text) == 4 == len(batch.ids)


def test_triplets(glosses: Glosses) -> None:
    triplets = Glosses(train="triplets").triplets()
    train = glosses.splits["train"]
    owner = {gloss.text: key for key, gloss in train.items()}
    assert len(triplets.anchor) == 38479 == len(set(triplets.anchor))
    rows = list(zip(*([owner[text] for text in column] for column in triplets), strict=True))[::97]
    assert all(positive in train[anchor].hypernyms for anchor, positive, _ in rows)
    assert all(grade(train, anchor, negative) == 1 for anchor, _, negative in rows)
    (batch, *_) = Glosses(train="triplets", batch_size=4).train_dataloader()
    assert isinstance(batch, SentenceTriplets)
    assert [triplets.negative[i] for i in batch.ids] == batch.negative


def test_the_order_depends_on_the_seed_alone() -> None:
    def first(seed: int) -> list[str]:
        return next(iter(Glosses(seed=seed, batch_size=8).train_dataloader())).text

    assert first(0) == first(0) != first(1)


def test_the_grades_themselves_score_best_and_a_constant_nothing(glosses: Glosses) -> None:
    pairs = glosses.rated["val"]
    angles = torch.zeros(len(pairs.texts))
    angles[pairs.second] = (3 - pairs.human) * 0.5
    at = {text: angle for text, angle in zip(pairs.texts, angles, strict=True)}
    best = glosses.evaluate(Placed(lambda text: torch.stack([at[text].cos(), at[text].sin()])), "val")
    assert best["spearman/glosses"] == pytest.approx(1) and best["alignment/glosses"] == pytest.approx(0, abs=1e-6)
    assert isinstance(best["spearman/glosses"], Mean) and len(best["spearman/glosses"].items) == 1000
    same = glosses.evaluate(Placed(lambda text: torch.ones(2)), "val")
    assert same == pytest.approx(dict.fromkeys(same, 0), abs=1e-6)


def test_chance_is_about_nothing(glosses: Glosses) -> None:
    def place(text: str) -> Tensor:
        return uniform(torch.tensor([sum(map(ord, text))]), 64, len(text))[0] - 0.5

    assert abs(glosses.evaluate(Placed(place))["spearman/glosses"]) < 0.06


def test_counted_words_know_some_of_it(glosses: Glosses) -> None:
    found = glosses.evaluate(BagOfWords(glosses.sentences()[::10]), "val")
    assert 0.35 < found["spearman/glosses"] < 0.5


def test_bad_arguments(glosses: Glosses) -> None:
    with pytest.raises(UserError, match=r"data.train is 'pairs'; it must be 'glosses' or 'triplets'"):
        Glosses(train="pairs")
    with pytest.raises(UserError, match="split is 'dev'"):
        glosses.evaluate(Placed(lambda text: torch.ones(2)), "dev")
    with pytest.raises(UserError, match="needs a module with embed_text; Linear has none"):
        glosses.evaluate(nn.Linear(2, 2))


def test_the_fingerprint_follows_the_training_data(glosses: Glosses) -> None:
    assert glosses.fingerprint() == Glosses(seed=3).fingerprint() != Glosses(train="triplets").fingerprint()
