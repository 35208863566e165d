"""The picture sources: counts, and a sample that is known."""

import numpy as np

from data.sources.fashion_mnist import FASHION_MNIST, read_fashion_mnist
from data.sources.mnist5k import MNIST5K, read_mnist5k


def test_mnist5k(fetched) -> None:
    fetched(MNIST5K)
    pixels, digits = read_mnist5k()
    assert pixels.shape == (5000, 28, 28)
    assert pixels.dtype == np.uint8
    assert np.bincount(digits).tolist() == [500] * 10
    assert pixels[0].sum() == 31_095
    assert digits[[0, 4999]].tolist() == [0, 9]
    # The first picture is a zero: ink around an empty middle.
    assert pixels[0, 14, 14] == 0
    assert pixels[0].max() > 250


def test_fashion_mnist(fetched) -> None:
    fetched(FASHION_MNIST)
    data = read_fashion_mnist()
    assert {split: pixels.shape for split, (pixels, _) in data.items()} == {
        "train": (60_000, 28, 28),
        "test": (10_000, 28, 28),
    }
    assert np.bincount(data["train"][1]).tolist() == [6000] * 10
    assert np.bincount(data["test"][1]).tolist() == [1000] * 10
    # The published order: an ankle boot first; pullover and trousers after another boot in the test split.
    assert data["train"][1][:5].tolist() == [9, 0, 0, 3, 0]
    assert data["test"][1][:5].tolist() == [9, 2, 1, 1, 6]
    assert data["train"][0][0].sum() == 76_247
