"""Garments without labels and then a few with: whose labels are seen when, what is scored, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.mini.placed_shots import PlacedShots
from data.sources.fashion_mnist import FASHION_MNIST


def ready(fetched, **switches) -> PlacedShots:
    fetched(FASHION_MNIST)
    benchmark = PlacedShots(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def shots(fetched) -> PlacedShots:
    return ready(fetched, batch_size=50, unlabelled_steps=4, labelled_steps=12)


class Cheat(nn.Module):
    """Knows the class of every picture by its pixels."""

    def __init__(self, benchmark: PlacedShots) -> None:
        super().__init__()
        parts = [benchmark.labelled, *benchmark.splits.values()]
        self.known = {
            picture.numpy().tobytes(): label
            for part in parts
            for picture, label in zip(part.pixels, part.labels.tolist(), strict=True)
        }

    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.eye(10)[[self.known[picture.numpy().tobytes()] for picture in pixels]]

    def classify_image(self, pixels: Tensor) -> Tensor:
        return 9 * self.embed_image(pixels)


class At:
    """Stands for a trainer at a step."""

    def __init__(self, step: int) -> None:
        self.global_step, self.current_epoch = step, 0


def test_labels_are_hidden_until_the_second_task(shots: PlacedShots) -> None:
    assert shots.task_starts() == [0, 4] and len(shots.train_dataloader()) == 16
    assert shots.labelled.labels.bincount().tolist() == [50] * 10
    labelled = set(shots.labelled.ids.tolist())
    for step, batch in enumerate(shots.train_dataloader()):
        shots.trainer = At(step)
        images = shots.on_after_batch_transfer(batch, 0)
        if step < 4:
            assert (images.labels == -1).all() and len(images.views) == 2
            assert len(labelled & set(batch.ids.tolist())) < 10
        else:
            assert images.labels.equal(batch.labels) and len(images.views) == 1
            assert set(batch.ids.tolist()) <= labelled
    shots.trainer = None


def test_views_are_new_at_each_step(shots: PlacedShots) -> None:
    batch = next(iter(shots.train_dataloader()))
    views = []
    for step in (0, 1, 8, 9, 9):
        shots.trainer = At(step)
        views.append(shots.on_after_batch_transfer(batch, 0).views)
    shots.trainer = None
    assert not views[0].equal(views[1]) and not views[2].equal(views[3]) and views[3].equal(views[4])


def test_the_seed_draws_what_has_labels(shots: PlacedShots, fetched) -> None:
    other = ready(fetched, seed=1)
    assert len(set(shots.labelled.ids.tolist()) & set(other.labelled.ids.tolist())) < 50
    assert set(other.labelled.ids.tolist()) <= set(other.train.ids.tolist())
    assert other.fingerprint() == shots.fingerprint() != ready(fetched, shots=20).fingerprint()
    assert other.sizes() == {"train": 20_000, "val": 5000, "test": 10_000}
    assert ready(fetched, unlabelled_steps=0).task_starts() == [0]


def test_who_knows_all_scores_all(shots: PlacedShots) -> None:
    found = shots.evaluate(Cheat(shots), "val")
    assert found["classifier/top1"] == found["probe_ridge/top1"] == found["knn20_centred/top1"] == 1.0
    assert found["class_means/scatter"] == 0.0
    assert found["classifier/top1"].items.shape == (5000,)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"shots": 0}, "data.shots is 0; it must be at least 1"),
        ({"shots": 2001}, "data.shots is 2001; a class has 2000 pictures to train on"),
        ({"unlabelled_steps": -1}, "data.unlabelled_steps is -1; it must be at least 0"),
        ({"labelled_steps": 0}, "data.labelled_steps is 0; it must be at least 1"),
    ],
)
def test_bad_switches_are_named(switches: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        PlacedShots(**switches)
    assert str(error.value) == message


def test_bad_requests_are_named(shots: PlacedShots) -> None:
    with pytest.raises(UserError, match="split is 'gallery'; it must be 'val' or 'test'"):
        shots.evaluate(Cheat(shots), "gallery")
    with pytest.raises(UserError, match="needs a module with embed_image; Linear has none"):
        shots.evaluate(nn.Linear(1, 1))
