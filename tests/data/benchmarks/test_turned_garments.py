"""Turned garments: angles that are dealt evenly or askew, turns that are what they say, known scores."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.table import take
from data.benchmarks.bases.images import Pictures
from data.benchmarks.mini.turned_garments import TurnedGarments, dealt, degrees, rendered
from data.sources.fashion_mnist import FASHION_MNIST, read_fashion_mnist


@pytest.fixture(scope="module")
def garments(fetched) -> TurnedGarments:
    return ready(fetched)


def ready(fetched, **switches) -> TurnedGarments:
    fetched(FASHION_MNIST)
    benchmark = TurnedGarments(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Points in the direction of every picture's angle."""

    def __init__(self, benchmark: TurnedGarments) -> None:
        super().__init__()
        parts = [benchmark.train, benchmark.splits["val"], benchmark.splits["test"]]
        self.known = {
            picture.numpy().tobytes(): angle
            for part in parts
            for picture, angle in zip(part.pixels, degrees(part.labels).deg2rad().tolist(), strict=True)
        }

    def embed_image(self, pixels: Tensor) -> Tensor:
        angles = torch.tensor([self.known[picture.numpy().tobytes()] for picture in pixels])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_counts(garments: TurnedGarments) -> None:
    assert garments.sizes() == {"train": 2000, "val": 3000, "test": 5000}
    ids = torch.cat([part.ids for part in (garments.train, *garments.used())])
    assert ids.unique().numel() == len(ids) == 10_000
    assert garments.splits["test"].ids.tolist() == list(range(65_000, 70_000))
    _, classes = read_fashion_mnist()["train"]
    assert torch.from_numpy(classes)[garments.splits["val"].ids].bincount().tolist() == [300] * 10
    assert garments.train.pixels.shape == (2000, 1, 28, 28) and garments.train.pixels.dtype == torch.uint8


def test_known_samples(garments: TurnedGarments) -> None:
    """A picture is a function of its sample, but for the rounding of a pixel on another processor."""
    assert garments.fingerprint()[:8] == "a142e351"
    test = garments.splits["test"]
    assert test.labels[:5].tolist() == [-37_092, 15_036, 57_156, -47_196, -57_972]
    some = test.pixels[0, 0, 4:24:5, 4:24:5].double().flatten()
    known = [13, 16, 163, 86, 0, 146, 202, 163, 180, 172, 120, 106, 40, 186, 204, 145]
    torch.testing.assert_close(some, torch.tensor(known).double(), atol=1.5, rtol=0)


def test_scored_angles_are_equally_spaced(garments: TurnedGarments) -> None:
    for part, step in ((garments.splits["val"], 40), (garments.splits["test"], 24)):
        assert part.labels.sort().values.diff().unique().tolist() == [step]
        assert part.labels.min() == -60_000 + step // 2 and part.labels.max() == 60_000 - step // 2


def test_skewed_angles_fall_geometrically() -> None:
    ids = torch.arange(6000)
    even, skewed = degrees(dealt(ids, 1.0, 0)), degrees(dealt(ids, 16.0, 0))
    assert even.argsort().equal(skewed.argsort()), "the order is the same"
    counts = skewed.histc(4, -60, 60)
    # The density is halved with every quarter of the range: 16 = 2^4.
    torch.testing.assert_close(counts[:-1] / counts[1:], torch.full((3,), 2.0), atol=0.02, rtol=0)
    assert skewed.abs().max() <= 60
    assert not dealt(ids, 1.0, 1).equal(dealt(ids, 1.0, 0))


def test_a_turn_is_what_its_angle_says() -> None:
    """A bar that stands upright in the upper half goes to the left at 60 degrees, and stays in the middle at 0."""
    pixels = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    pixels[:, :, :14, 13:15] = 255
    turned = rendered(Pictures(pixels, torch.tensor([-60_000, 0, 60_000]), torch.arange(3)))
    ink = (turned.double() - 90).clamp(min=0)[:, 0]
    rows, columns = torch.meshgrid(torch.arange(28.0) - 13.5, torch.arange(28.0) - 13.5, indexing="ij")
    total = ink.sum(dim=(1, 2))
    right, down = ((ink * axis).sum(dim=(1, 2)) / total for axis in (columns, rows))
    angle = torch.atan2(-right, -down).rad2deg()
    torch.testing.assert_close(angle, torch.tensor([-60.0, 0, 60]).double(), atol=6, rtol=0)


def test_the_seed_draws_what_is_trained_on(garments: TurnedGarments, fetched) -> None:
    other = ready(fetched, seed=1, skew=20.0)
    assert all(other.splits[name].pixels.equal(garments.splits[name].pixels) for name in ("val", "test"))
    shared = set(other.train.ids.tolist()) & set(garments.train.ids.tolist())
    assert 40 < len(shared) < 130, "2,000 of 57,000 each"
    assert ready(fetched, seed=1).fingerprint() == garments.fingerprint() != other.fingerprint()
    assert degrees(other.train.labels).mean() < -20 < degrees(garments.train.labels).mean()


def test_batches(garments: TurnedGarments) -> None:
    batch = next(iter(garments.train_dataloader()))
    whole, half = garments.augmented(batch, 1), garments.augmented(take(batch, torch.arange(32, 64)), 1)
    assert whole.views.shape == (2, 64, 1, 28, 28)
    torch.testing.assert_close(half.views, whole.views[:, 32:])
    assert whole.measured().equal(degrees(batch.labels)) and whole.labels.equal(((whole.measured() + 60) // 3).long())
    with pytest.raises(UserError, match="the data names none"):
        whole._replace(targets=None).measured()
    apart = (whole.views[0] - whole.views[1]).std()
    assert 0.1 < apart < 0.3


def test_known_scores(garments: TurnedGarments) -> None:
    found = garments.evaluate(Cheat(garments))
    assert found.keys() == {*(f"probe_ridge/{name}" for name in ("mae", "r2", "spearman")), "distances/spearman"}
    assert found["probe_ridge/mae"] < 1.6 and found["probe_ridge/r2"] > 0.997, "a sine is almost a line"
    assert found["probe_ridge/spearman"] > 0.9999 and found["distances/spearman"] > 0.999
    assert all(len(value.items) == 5000 for value in found.values())
    assert garments.evaluate(Cheat(garments), "val")["probe_ridge/mae"] < 1.6


def test_floor(garments: TurnedGarments) -> None:
    floor = garments.floor()
    assert floor["mean"].keys() == floor["raw pixels"].keys()
    assert floor["mean"]["probe_ridge/mae"] == pytest.approx(30, abs=0.01)
    assert floor["raw pixels"]["probe_ridge/mae"] == pytest.approx(18.1, abs=0.1)
    assert floor["raw pixels"]["probe_ridge/spearman"] == pytest.approx(0.748, abs=0.005)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"train_size": 5}, "data.train_size is 5; it must be from 10 to 57000"),
        ({"skew": 0.5}, "data.skew is 0.5; it must be from 1, which is even, to 1000"),
        ({"bins": 1}, "data.bins is 1; it must be at least 2"),
        ({"noise": 2.0}, "data.noise is 2.0; it must be in [0, 1]"),
    ],
)
def test_bad_switches_are_named(switches: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        TurnedGarments(**switches)
    assert str(error.value) == message


def test_bad_requests_are_named(garments: TurnedGarments) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        garments.evaluate(Cheat(garments), "train")
    with pytest.raises(UserError, match="needs a module with embed_image; Linear has none"):
        garments.evaluate(nn.Linear(1, 1))
