"""CIFAR-10 and CIFAR-100 as published: for the full recipes of the image papers."""

import numpy as np
import torch

from data.benchmarks.bases.galleries import GalleryImages
from data.benchmarks.bases.images import LabelledImages, Pictures
from data.published import published_folder

FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"{FOLDER}/data_batch_{k}.bin" for k in range(1, 6))
TEST = f"{FOLDER}/test_batch.bin"
FOLDER_100 = "cifar-100-binary"
TRAIN_100, TEST_100 = f"{FOLDER_100}/train.bin", f"{FOLDER_100}/test.bin"
_WHERE = dict(where="https://www.cs.toronto.edu/~kriz/cifar.html", terms="free to use; cite Krizhevsky 2009")


class Cifar10(LabelledImages):
    """50,000 training and 10,000 test pictures, 32x32 RGB, in the binary version (one label byte, 3,072 pixel bytes).

    Methods train on all 50,000, as in the papers, so there is no validation split. Arguments as in `LabelledImages`.
    """

    name = "cifar10"
    published = True
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    gallery_per_class = 5_000

    def prepare_data(self) -> None:
        self._folder()

    def val_dataloader(self) -> list[str]:
        return []

    def load(self) -> dict[str, Pictures]:
        folder = self._folder()
        train = np.concatenate([np.fromfile(folder / file, np.uint8) for file in TRAIN])
        test = np.fromfile(folder / TEST, np.uint8)
        return {"train": _pictures(train, 0), "test": _pictures(test, 50_000)}

    def _folder(self):
        return published_folder(
            self.data_root,
            title="CIFAR-10, binary version",
            files=[*TRAIN, TEST],
            **_WHERE,
        )


class Cifar100(GalleryImages):
    """50,000 training and 10,000 test pictures, 32x32 RGB, of 100 classes, in the binary version (two label bytes).

    The gallery is the training pictures, all of them whatever the switches do, and there is no validation split.

    Args:
        train_size: as in `GalleryImages`; there are 500 of each class.
        class_count, long_tail, tasks, task_epochs: as in `GalleryImages`.
        kwargs: as in `AugmentedImages`.
    """

    name = "cifar100"
    published = True
    most_classes = 100
    most_per_class = 500

    def __init__(
        self,
        *,
        train_size: int = 50_000,
        class_count: int = 100,
        long_tail: float = 1.0,
        tasks: int = 1,
        task_epochs: int = 1,
        **kwargs,
    ) -> None:
        switches = dict(train_size=train_size, class_count=class_count, long_tail=long_tail)
        super().__init__(**switches, tasks=tasks, task_epochs=task_epochs, **kwargs)

    def prepare_data(self) -> None:
        self._folder()

    def val_dataloader(self) -> list[str]:
        return []

    def load(self) -> dict[str, Pictures]:
        files = [np.fromfile(self._folder() / file, np.uint8) for file in (TRAIN_100, TEST_100)]
        train, test = (_pictures(content, first, labels=2) for content, first in zip(files, (0, 50_000), strict=True))
        return {"train": train, "gallery": train, "test": test}

    def training_set(self, train: Pictures) -> Pictures:
        return self.drawn(train)

    def _folder(self):
        return published_folder(
            self.data_root, title="CIFAR-100, binary version", files=[TRAIN_100, TEST_100], **_WHERE
        )


class Cifar100Superclasses(Cifar100):
    """CIFAR-100 whose training pictures have the 20 superclasses for labels; it is scored on the 100 classes.

    Args:
        kwargs: as in `AugmentedImages`.
    """

    name = "cifar100_superclasses"

    def __init__(self, **kwargs) -> None:
        super().__init__(train_size=50_000, class_count=100, long_tail=1.0, tasks=1, task_epochs=1, **kwargs)

    def load(self) -> dict[str, Pictures]:
        train = _pictures(np.fromfile(self._folder() / TRAIN_100, np.uint8), 0, labels=2, told=0)
        return super().load() | {"train": train}

    def training_set(self, train: Pictures) -> Pictures:
        return train


def _pictures(content: np.ndarray, first_id: int, labels: int = 1, told: int = -1) -> Pictures:
    """Of records that begin with so many bytes of labels, of which by default the last is the class."""
    records = torch.from_numpy(content).view(-1, labels + 3 * 32 * 32)
    ids = torch.arange(first_id, first_id + len(records))
    pixels = records[:, labels:].reshape(-1, 3, 32, 32).contiguous()
    return Pictures(pixels, records[:, :labels][:, told].long(), ids)
