"""MNIST-5k: handwritten digits, the benchmark that needs nothing but pip."""

from typing import Any, ClassVar

import torch

from data.benchmarks.bases.images import LabelledImages, Pictures, stratified
from data.sources.mnist5k import MNIST5K, read_mnist5k


class Digits(LabelledImages):
    """5,000 digits, 28x28 grey: 3,500 train, 500 validation, 1,000 test, as many of each class.

    No flips: a mirrored digit is another shape. Arguments as in `LabelledImages`.
    """

    name = "mnist5k"
    sources = (MNIST5K,)
    classes = tuple("0123456789")
    gallery_per_class = 350
    added_later: ClassVar[dict[str, Any]] = {"long_tail": 1.0, "label_noise": 0.0}

    def load(self) -> dict[str, Pictures]:
        pixels, labels = map(torch.from_numpy, read_mnist5k(self.data_root))
        everything = Pictures(pixels[:, None], labels, torch.arange(len(labels)))
        test, val, train = stratified(everything, [100, 50, -1], key=0)
        return {"train": train, "val": val, "test": test}
