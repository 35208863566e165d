"""Written characters: who is seen and who is not, drawings that belong to their ids, known scores."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.table import take
from data.benchmarks.mini.hanzi import Characters, Hanzi, HanziSeen, drawn
from data.sources.hanzi import HANZI, read_strokes


@pytest.fixture(scope="module")
def unseen(fetched) -> Hanzi:
    return ready(fetched, Hanzi)


@pytest.fixture(scope="module")
def seen(fetched) -> HanziSeen:
    return ready(fetched, HanziSeen)


def ready(fetched, kind: type, **switches) -> Characters:
    fetched(HANZI)
    benchmark = kind(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows the character of every drawing, as far as it is not one of the `unknown` first ones of the test."""

    def __init__(self, benchmark: Characters, unknown: int = 0) -> None:
        super().__init__()
        parts = {"train": benchmark.train} | benchmark.splits
        self.classes = max(int(part.labels.max()) for part in parts.values()) + 2
        self.known = {}
        for name, part in parts.items():
            first = unknown if name == "test" else 0
            rows = zip(part.pixels[first:], part.labels[first:].tolist(), strict=True)
            self.known |= {picture.numpy().tobytes(): label for picture, label in rows}

    def embed_image(self, pixels: Tensor) -> Tensor:
        labels = [self.known.get(picture.numpy().tobytes(), self.classes - 1) for picture in pixels]
        return nn.functional.one_hot(torch.tensor(labels), self.classes).float()


class Classifies(Cheat):
    def classify_image(self, pixels: Tensor) -> Tensor:
        return self.embed_image(pixels)


def test_counts(unseen: Hanzi, seen: HanziSeen) -> None:
    assert unseen.sizes() == {"train": 1000, "val": 1200, "test": 2400}
    assert seen.sizes() == {"train": 4000, "val": 2000, "test": 5000}
    for benchmark in (unseen, seen):
        for part in (benchmark.train, *benchmark.splits.values()):
            assert part.labels.bincount().unique().numel() == 1
            assert part.pixels.shape[1:] == (1, 28, 28) and part.pixels.dtype == torch.uint8


def test_characters_are_apart_where_they_are_to_be(unseen: Hanzi, seen: HanziSeen) -> None:
    names = [unseen.names(split) for split in ("train", "val", "test")]
    assert [len(some) for some in names] == [100, 60, 120]
    assert len(set("".join(names))) == 280
    assert names[2][:10] == "姐账冻亦防顷奔昕仝希"
    assert seen.names("test") == seen.names("train") and seen.names("train")[:100] == names[0]
    assert not set(seen.names("train")) & set(names[1] + names[2])
    strokes = read_strokes()
    assert all(5 <= len(strokes[character]) <= 8 for character in "".join(names))


@pytest.mark.parametrize("kind", [Hanzi, HanziSeen])
def test_no_drawing_stands_in_two_splits(kind: type, fetched) -> None:
    benchmark = ready(fetched, kind)
    parts = [benchmark.train, benchmark.splits["val"], benchmark.splits["test"]]
    ids = torch.cat([part.ids for part in parts])
    assert (
        len({picture.numpy().tobytes() for part in parts for picture in part.pixels}) == len(ids.unique()) == len(ids)
    )


def test_known_samples(unseen: Hanzi, seen: HanziSeen) -> None:
    """A drawing is a function of its sample, but for the rounding of a pixel on another processor."""
    assert (unseen.fingerprint()[:8], seen.fingerprint()[:8]) == ("bcabba5d", "ecf73340")
    some = unseen.splits["test"].pixels[0, 0, 4:24:5, 4:24:5].double().flatten()
    known = [0, 100, 67, 202, 36, 76, 255, 236, 0, 204, 139, 178, 0, 117, 255, 84]
    torch.testing.assert_close(some, torch.tensor(known).double(), atol=1.5, rtol=0)
    some = unseen.splits["test"]
    again = drawn(unseen.lines[260:261], unseen.counts[260:261], some.ids[:1], 1.0)
    assert (again.int() - some.pixels[:1].int()).abs().max() <= 1


def test_the_seed_draws_what_is_trained_on(unseen: Hanzi, fetched) -> None:
    other = ready(fetched, Hanzi, seed=1)
    assert other.fingerprint() == unseen.fingerprint() and other.names("train") == unseen.names("train")
    assert all(other.splits[name].pixels.equal(unseen.splits[name].pixels) for name in ("val", "test"))
    first, second = ({picture.numpy().tobytes() for picture in b.train.pixels} for b in (unseen, other))
    assert not first & second


def test_switches(unseen: Hanzi, fetched) -> None:
    few = ready(fetched, Hanzi, characters=20, drawings=5)
    assert few.sizes() == {"train": 100, "val": 1200, "test": 2400}
    assert few.splits["test"].pixels.equal(unseen.splits["test"].pixels)
    assert few.fingerprint() != unseen.fingerprint()
    assert few.train.pixels.equal(unseen.train.pixels.unflatten(0, (100, 10))[:20, :5].flatten(0, 1))
    printed = ready(fetched, Hanzi, jitter=0.0)
    scores = printed.floor()["raw pixels"]
    assert scores["recall@1/gallery2400"] > 0.99, "without jitter the drawings of a character differ in ink alone"
    assert ready(fetched, HanziSeen, characters=50).splits["test"].labels.bincount().tolist() == [100] * 50


def test_batches_hold_as_many_of_each_character(unseen: Hanzi, fetched) -> None:
    batch = next(iter(unseen.train_dataloader()))
    assert batch.labels.unique(return_counts=True)[1].tolist() == [3] * 20
    images = unseen.augmented(batch, 0)
    assert images.views.shape == (1, 60, 1, 28, 28)
    half = unseen.augmented(take(batch, torch.arange(30, 60)), 0)
    torch.testing.assert_close(half.views, images.views[:, 30:])
    random = ready(fetched, Hanzi, per_class=None)
    assert len(next(iter(random.train_dataloader())).labels.unique()) > 30


def test_perfect_scores_and_the_characters_that_are_missed(unseen: Hanzi) -> None:
    found = unseen.evaluate(Cheat(unseen, unknown=40))
    assert found.keys() == {
        f"{name}/gallery2400"
        for name in ("recall@1", "recall@5", "median_rank", "mrr", "log2_rank", "map_at_r", "map", "ndcg@10")
    }
    for name in ("recall@5", "map_at_r", "map"):
        items = found[f"{name}/gallery2400"].items
        assert len(items) == 120 and items[2:].eq(1).all() and (items[:2] < 0.6).all()
    assert unseen.evaluate(Cheat(unseen), "val")["map/gallery1200"] == 1.0


def test_scores_of_those_that_are_seen(seen: HanziSeen) -> None:
    found = seen.evaluate(Classifies(seen, unknown=250))
    assert found["classifier/top1"] == found[seen.primary] == pytest.approx(1 - 250 / 5000, abs=2e-4)
    assert found["classifier/top1"].items[:250].sum() == 0
    assert found["classifier/log_likelihood_scaled"].items.shape == (5000,)
    assert "classifier/top1" not in seen.evaluate(Cheat(seen), "val")


def test_floors(unseen: Hanzi, seen: HanziSeen) -> None:
    floor = unseen.floor()
    assert floor["chance"].keys() < floor["raw pixels"].keys()
    assert 0.01 < floor["chance"][unseen.primary] < 0.012
    assert floor["raw pixels"][unseen.primary] == pytest.approx(0.0556, abs=0.001)
    assert floor["raw pixels"]["recall@1/gallery2400"] == pytest.approx(0.24, abs=0.01)
    floor = seen.floor()
    assert floor["chance"][seen.primary] == floor["chance"]["classifier/top1"] == 1 / 200
    assert floor["raw pixels"][seen.primary] == pytest.approx(0.0512, abs=0.005)


@pytest.mark.parametrize(
    ("kind", "switches", "message"),
    [
        (Hanzi, {"characters": 201}, "data.characters is 201; it must be from 2 to 200"),
        (HanziSeen, {"characters": 150}, "data.characters is 150; it must divide 2,000"),
        (Hanzi, {"drawings": 1}, "data.drawings is 1; it must be from 2 to 10000"),
        (Hanzi, {"jitter": -1.0}, "data.jitter is -1.0; it must be in [0, 2]"),
    ],
)
def test_bad_switches_are_named(kind: type, switches: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        kind(**switches)
    assert str(error.value) == message


def test_bad_requests_are_named(unseen: Hanzi, seen: HanziSeen, fetched) -> None:
    for benchmark in (unseen, seen):
        with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
            benchmark.evaluate(Cheat(benchmark), "train")
        with pytest.raises(UserError, match="needs a module with embed_image; Linear has none"):
            benchmark.evaluate(nn.Linear(1, 1))
    with pytest.raises(UserError, match="per_class is 7; it must divide"):
        ready(fetched, Hanzi, per_class=7).train_dataloader()
