"""Fashion-MNIST with switches: fewer pictures, a long tail, wrong labels, coarse labels."""

from typing import Literal

import torch
from torch import Tensor

from common.errors import UserError
from data.benchmarks.bases.images import LabelledImages, Pictures, stratified
from data.sources.fashion_mnist import CLASSES, FASHION_MNIST, read_fashion_mnist

COARSE = ("top", "trouser or dress", "shoe", "bag")
# T-shirt, pullover, coat and shirt; trouser and dress; sandal, sneaker and ankle boot; bag.
_COARSE_OF = torch.tensor([0, 1, 0, 1, 0, 2, 0, 2, 3, 2])


class Fashion(LabelledImages):
    """70,000 garments, 28x28 grey: 55,000 train, 5,000 validation, and the 10,000 of the published test split.

    Args:
        train_size: pictures to train on, the same number of each class; none means all 55,000.
        long_tail, label_noise: as in `LabelledImages`.
        labels: "coarse" trains on four groups of classes, while the probes ask for all ten.
        kwargs: as in `LabelledImages`.
    """

    name = "fashion"
    sources = (FASHION_MNIST,)
    classes = CLASSES
    gallery_per_class = 500

    def __init__(
        self,
        train_size: int | None = None,
        long_tail: float = 1.0,
        label_noise: float = 0.0,
        labels: Literal["fine", "coarse"] = "fine",
        flip: float = 0.5,
        rotation: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(flip=flip, rotation=rotation, long_tail=long_tail, label_noise=label_noise, **kwargs)
        if train_size is not None and not (train_size % 10 == 0 and 10 <= train_size <= 55_000):
            raise UserError(f"data.train_size is {train_size}; it must be a multiple of 10 from 10 to 55000")
        self.train_size = train_size
        self.labels = labels

    def load(self) -> dict[str, Pictures]:
        parts, start = {}, 0
        for split, (pixels, labels) in read_fashion_mnist(self.data_root).items():
            ids = torch.arange(start, start := start + len(labels))
            parts[split] = Pictures(torch.from_numpy(pixels)[:, None], torch.from_numpy(labels), ids)
        val, train = stratified(parts["train"], [500, -1], key=0)
        return {"train": train, "val": val, "test": parts["test"]}

    def training_set(self, train: Pictures) -> Pictures:
        if self.train_size is not None:
            train = stratified(train, [self.train_size // 10], key=2)[0]
        train = self.tailed(train)
        return train._replace(labels=self.training_labels(train.labels))

    def training_labels(self, labels: Tensor) -> Tensor:
        return _COARSE_OF[labels] if self.labels == "coarse" else labels
