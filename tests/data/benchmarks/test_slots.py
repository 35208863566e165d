"""The generated language, and the benchmark on it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import GradedPairs, SentenceParts, Sentences, SentenceTriplets, Translations
from common.encoders.static import StaticVectors
from common.errors import UserError
from common.evaluation.means import Mean
from common.random import uniform
from data.benchmarks.bases.floors import BagOfWords, Scattered
from data.benchmarks.worlds.slots import PAIRS, TRAIN, TRIPLES, SlotSentences, cut_elsewhere, pairs, triples
from data.slot_language import CONCEPTS, ROLES, Language, phrases, vocabulary

CONTENT = 400
"""Content words of a domain."""
CONTENT_WORDS = {word: at for at, word in enumerate(vocabulary()[: 2 * CONTENT])}
"""Their places in the vocabulary: role by role."""


@pytest.fixture(scope="module")
def slots() -> SlotSentences:
    benchmark = SlotSentences(away=True)
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def home() -> Language:
    return Language("home")


class Placed(nn.Module):
    """Places every text by a function of it."""

    def __init__(self, place: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.place = place

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.place(text) for text in texts])


def oracle(slots: SlotSentences) -> Placed:
    """Knows the concepts: the cosine of two sentences is the share of those that are equal."""
    meant = slots.worlds["home"].meant | slots.worlds["away"].meant
    return Placed(lambda text: F.one_hot(torch.tensor(meant[text]), CONCEPTS).flatten().float())


def words_of(text: str) -> list[str]:
    """The content words."""
    return [word for word in text.split() if word in CONTENT_WORDS]


KNOWN = [
    "ba vogi be baku bi zelo bo lozo bu poki",
    "ke kudi ki gava go kaki ka bero gu kufa ko ku ko",
    "fi domo fe zozu fo teve ga sove fu badi ge gi",
]


def test_words(home: Language) -> None:
    words = vocabulary()
    assert len(words) == len(set(words)) == 2 * CONTENT + 25
    # Half of the words have two meanings, and two concepts have at most one word in common.
    uses = home.forms.flatten().bincount()
    assert uses.tolist() == [1] * 40 + [2] * 40
    sets = [set(row) for row in home.forms.tolist()]
    assert {len(one) for one in sets} == {3}
    assert max(len(one & other) for at, one in enumerate(sets) for other in sets[:at]) == 1


def test_a_known_sentence_and_its_phrases(home: Language) -> None:
    ids = torch.arange(3)
    said = home.worded(home.concepts(home.topics(ids, 9), ids, 9), ids, 9)
    texts = home.texts(said)
    assert texts == KNOWN
    # Alone as in company, and in another domain in other words.
    assert home.texts(home.worded(home.concepts(home.topics(ids[2:], 9), ids[2:], 9), ids[2:], 9)) == KNOWN[2:]
    away = Language("away")
    assert not set(words_of(" ".join(away.texts(said)))) & set(words_of(" ".join(texts)))
    for text, style in zip(texts, said.style.tolist(), strict=True):
        first, second = phrases(text)
        assert f"{first} {second}" == text
        sizes = {0: (3, 2), 1: (2, 3), 2: (3, 2), 3: (2, 3)}[style]
        assert (len(words_of(first)), len(words_of(second))) == sizes
        assert len(text.split()) == 10 + style


def test_concepts_follow_the_topic(home: Language) -> None:
    ids = torch.arange(4000)
    topics = home.topics(ids[:1], 1).expand(4000, -1)
    drawn = home.concepts(topics, ids, 1)
    shares = (3 * home.directions @ topics[0]).softmax(dim=1)
    for role in range(len(ROLES)):
        found = drawn[:, role].bincount(minlength=CONCEPTS) / len(ids)
        assert found.sub(shares[role]).abs().max() < 0.03
    other = home.concepts(topics, ids, 1, unlike=drawn)
    assert (other != drawn).all() and other.max() < CONCEPTS and other.min() >= 0


def test_grades_are_true_and_no_word_comes_again(home: Language) -> None:
    ids = torch.arange(6000)
    first, second, grades = pairs(home, ids, 5)
    assert (first.concepts == second.concepts).sum(dim=1).equal(grades) and grades.equal(ids % 6)
    assert (first.words != second.words).all()
    for said in (first, second):
        assert (home.forms[said.concepts] == said.words[:, :, None]).any(dim=2).all()
    # Neither the style nor the role tells the grade.
    same_style = (first.style == second.style).float()
    for grade in range(6):
        assert float(same_style[grades == grade].mean()) == pytest.approx(0.25, abs=0.05)
    kept = (first.concepts == second.concepts)[grades == 2].float().mean(dim=0)
    assert kept.sub(0.4).abs().max() < 0.06


def test_near_misses_keep_all_words_but_one(home: Language) -> None:
    ids = torch.arange(500)
    found = triples(home, ids, 5)
    assert found.positive.concepts.equal(found.anchor.concepts) and (found.positive.words != found.anchor.words).all()
    for role, miss in enumerate(found.negatives):
        elsewhere = torch.arange(len(ROLES)) != role
        for name in ("concepts", "words"):
            equal = getattr(miss, name) == getattr(found.anchor, name)
            assert equal[:, elsewhere].all() and not equal[:, role].any()


def test_counts_and_that_nothing_is_said_twice(slots: SlotSentences) -> None:
    assert slots.sizes() == {"train": 10_000, "val": 1000, "test": 2400}
    for world in slots.worlds.values():
        scored = [text for split in PAIRS for text in world.rated[split].texts]
        assert len(scored) == len(set(scored)) == 2 * (1000 + 2400)
        assert world.rated["test"].human.long().bincount().tolist() == [400] * 6
        assert world.rated["val"].human.long().bincount().tolist() == [167] * 4 + [166] * 2
        meanings = {split: {tuple(world.meant[text]) for text in world.rated[split].texts} for split in PAIRS}
        # The two sentences of a pair of grade 5 say one thing; nothing else does.
        assert [len(meanings[split]) for split in ("val", "test")] == [2000 - 166, 4800 - 400]
        for split, count in TRIPLES.items():
            assert [len(side) for side in world.triples[split]] == [count] * 7
            meanings[f"{split} triples"] = {tuple(world.meant[text]) for side in world.triples[split] for text in side}
            assert len(meanings[f"{split} triples"]) == 6 * count
        every = [one for part in meanings.values() for one in part]
        assert len(every) == len(set(every))


@pytest.mark.parametrize("kind", ["sentences", "pairs", "triplets", "translations"])
def test_what_is_trained_on_says_nothing_that_is_scored(
    kind: str, slots: SlotSentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, texts_of = [], Language.texts
    monkeypatch.setattr(Language, "texts", lambda self, rows: said.append(rows.concepts) or texts_of(self, rows))
    world = slots.worlds["home"]
    texts = [text for column in world.rows(kind) if isinstance(column, list) for text in column]
    assert len(texts) == len(set(texts)) == {"sentences": 1, "pairs": 2, "triplets": 3, "translations": 2}[kind] * TRAIN
    trained = set(map(tuple, torch.cat(said).tolist()))
    assert len(trained) > 0.8 * TRAIN and trained.isdisjoint(map(tuple, world.meant.values()))


def test_a_triplet_to_train_on(slots: SlotSentences) -> None:
    benchmark = SlotSentences(train="triplets", batch_size=8)
    batch = next(iter(benchmark.train_dataloader()))
    assert isinstance(batch, SentenceTriplets)
    for anchor, positive, negative in zip(*batch[:3], strict=True):
        own, other, missed = (set(words_of(text)) for text in (anchor, positive, negative))
        assert not own & other and len(own & missed) == 4
    missed_roles = torch.tensor([
        next(at for at, word in enumerate(sorted(words_of(a), key=CONTENT_WORDS.__getitem__)) if word not in n.split())
        for a, n in zip(benchmark.pool.anchor, benchmark.pool.negative, strict=True)
    ])  # fmt: skip
    assert missed_roles.bincount().div(TRAIN).sub(0.2).abs().max() < 0.02


def test_translations_say_the_same_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said, texts_of = [], Language.texts
    monkeypatch.setattr(Language, "texts", lambda self, rows: said.append(rows) or texts_of(self, rows))
    benchmark = SlotSentences(train="translations", batch_size=8)
    batch = next(iter(benchmark.train_dataloader()))
    assert isinstance(batch, Translations) and (batch.source_language != batch.target_language).all()
    source, target = said[-2:]
    assert source.concepts.equal(target.concepts) and not (source.words == target.words).any()
    assert 0.7 < float((source.style != target.style).float().mean()) < 0.8
    for one, other in zip(batch.source, batch.target, strict=True):
        assert not set(words_of(one)) & set(words_of(other))


def test_pairs_to_train_on_hide_their_grades(slots: SlotSentences) -> None:
    hidden, told = (SlotSentences(train="pairs", graded=graded, train_size=4000) for graded in (False, True))
    batch, other = (next(iter(benchmark.train_dataloader())) for benchmark in (hidden, told))
    assert isinstance(batch, GradedPairs) and batch.first == other.first
    assert (batch.grades == -1).all() and set(other.grades.tolist()) <= set(range(6))
    assert told.splits["train"].grades.long().bincount().div(4000).sub(1 / 6).abs().max() < 0.03
    assert hidden.sizes()["train"] == 4000
    assert len({benchmark.fingerprint() for benchmark in (slots, hidden, told)}) == 3


def test_neighbours_come_alone_and_joined() -> None:
    benchmark = SlotSentences(train="neighbours", learnt="both")
    benchmark.setup()
    texts = benchmark.splits["train"].text
    assert len(texts) == 60_000 and benchmark.splits["train"].ids.equal(torch.arange(60_000))
    joined = [text for text in texts if "[SEP]" in text]
    assert len(joined) == 20_000 and joined[0] == f"{texts[0]} [SEP] {texts[1]}"
    assert set(" ".join(texts).split()) == {*vocabulary(), "[SEP]"}


def test_the_seed_draws_what_is_trained_on(slots: SlotSentences) -> None:
    drawn = [SlotSentences(seed=seed, batch_size=8) for seed in (0, 1)]
    batches = [next(iter(benchmark.train_dataloader())) for benchmark in drawn]
    assert isinstance(batches[0], Sentences)
    parts = [set(benchmark.splits["train"].text) for benchmark in drawn]
    assert parts[0] != parts[1] and parts[0] | parts[1] < set(slots.worlds["home"].sentences())
    both = SlotSentences(learnt="both", train_size=500)
    assert both.sizes()["train"] == 1000
    home, away = (set(words_of(" ".join(both.splits["train"].text[half]))) for half in (slice(500), slice(500, None)))
    assert home and away and not home & away
    assert both.splits["train"].ids.unique().numel() == 1000


def test_parts_are_those_of_the_sentences() -> None:
    plain, border, other = (
        SlotSentences(train_size=300, **of) for of in ({}, {"train": "parts"}, {"train": "parts", "cut": "else"})
    )
    fingerprints = {benchmark.fingerprint() for benchmark in (plain, border, other)}
    assert len(fingerprints) == 3
    whole, parts, elsewhere = (benchmark.splits["train"] for benchmark in (plain, border, other))
    assert isinstance(next(iter(border.train_dataloader())), SentenceParts)
    assert whole.text == parts.text == elsewhere.text and whole.ids.equal(elsewhere.ids)
    assert [(*both,) for both in zip(parts.left, parts.right, strict=True)] == [phrases(text) for text in whole.text]
    for text, left, right, phrase in zip(*elsewhere[:3], parts.left, strict=True):
        assert f"{left} {right}" == text and left != phrase
        assert min(len(left.split()), len(right.split())) >= 4
    # Every place that is left comes.
    assert {cut_elsewhere(KNOWN[0], draw)[0].count(" ") + 1 for draw in (0.0, 0.4, 0.6, 0.99)} == {4, 5}


def test_transductive_training_knows_the_test_pairs_and_no_grade(slots: SlotSentences) -> None:
    benchmark = SlotSentences(train="pairs", train_size=100, transductive=True, learnt="both")
    rated = slots.worlds["home"].rated["test"]
    assert benchmark.sizes()["train"] == 200 + 2400
    train = benchmark.splits["train"]
    known = {*zip(train.first[200:], train.second[200:], strict=True)}
    assert known == {(rated.texts[a], rated.texts[b]) for a, b in zip(rated.first, rated.second, strict=True)}
    assert not known & {*zip(train.first[:200], train.second[:200], strict=True)}
    assert train.grades.unique().tolist() == [-1.0] and train.ids.unique().numel() == len(train.ids)


def test_scores_of_pairs_are_ranked(slots: SlotSentences) -> None:
    class Scored(Scattered):
        def score_text_pairs(self, first: list[str], second: list[str]) -> Tensor:
            meant = slots.worlds["home"].meant
            both = zip(first, second, strict=True)
            return torch.tensor([sum(x != y for x, y in zip(meant[a], meant[b], strict=True)) for a, b in both])

    assert slots.evaluate(Scored(), "val")["spearman_pair/slots"] == pytest.approx(-1)
    assert "spearman_pair/slots" not in slots.evaluate(Scattered(), "val")


def test_an_oracle_beats_all_floors_and_noise_none(slots: SlotSentences) -> None:
    best = slots.evaluate(oracle(slots), "val")
    # Equal shares differ in the last digit, so that some pairs of a grade are not tied.
    assert best["spearman/slots"] > 0.98 < best["spearman/away"]
    assert best["margin/slots"] == pytest.approx(0.2) and best["alignment/slots"] == pytest.approx(0, abs=1e-6)
    assert isinstance(best["margin/slots"], Mean) and len(best["margin/slots"].items) == 500
    assert len(best["spearman/slots"].items) == 1000
    sentences = slots.worlds["home"].sentences()
    for module in (Scattered(), BagOfWords(sentences)):
        found = slots.evaluate(module, "val")
        assert abs(found["spearman/slots"]) < 0.07 and abs(found["spearman/away"]) < 0.07
        assert found["margin/slots"] < 0
    static = slots.evaluate(StaticVectors(sentences, 96, weighted=True), "val")
    assert 0.65 < static["spearman/slots"] < 0.75 and static["margin/slots"] < 0


def test_the_margin_is_of_the_nearest_miss(slots: SlotSentences) -> None:
    def place(text: str) -> Tensor:
        return uniform(torch.tensor([sum(map(ord, text)) * 31 + len(text)]), 8, 3)[0] - 0.5

    found = slots.evaluate(Placed(place), "val")
    anchor, positive, *negatives = (
        [place(text).double() for text in side] for side in slots.worlds["home"].triples["val"]
    )
    gaps = []
    for row in range(len(anchor)):
        near = float(anchor[row] @ positive[row] / anchor[row].norm() / positive[row].norm())
        far = [float(anchor[row] @ side[row] / anchor[row].norm() / side[row].norm()) for side in negatives]
        gaps.append([near - one for one in far])
    assert found["margin/slots"] == pytest.approx(sum(map(min, gaps)) / len(gaps), abs=1e-6)
    for at, role in enumerate(ROLES):
        assert found[f"margin/{role}"] == pytest.approx(sum(gap[at] for gap in gaps) / len(gaps), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"train": "words"}, "data.train is 'words'; it must be one of sentences, neighbours, pairs, triplets, parts"),
        ({"cut": "else"}, "data.cut goes with parts; data.train is 'sentences'"),
        ({"train": "parts", "cut": "words"}, "data.cut is 'words'; it must be 'border' or 'else'"),
        ({"train": "pairs", "graded": True, "transductive": True}, "data.transductive goes with pairs that are not"),
        ({"train_size": 20_001}, "data.train_size is 20001; it must be from 1 to 20,000"),
        ({"graded": True}, "data.graded goes with pairs; data.train is 'sentences'"),
        ({"learnt": "away"}, "data.learnt is 'away'; it must be 'home' or 'both'"),
    ],
)
def test_bad_arguments(arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        SlotSentences(**arguments)
