"""CIFAR-10 as published: for the full recipes of the image papers."""

import numpy as np
import torch

from data.benchmarks.bases.images import LabelledImages, Pictures
from data.published import published_folder

FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"{FOLDER}/data_batch_{k}.bin" for k in range(1, 6))
TEST = f"{FOLDER}/test_batch.bin"


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
            where="https://www.cs.toronto.edu/~kriz/cifar.html",
            terms="free to use; cite Krizhevsky 2009",
        )


def _pictures(content: np.ndarray, first_id: int) -> Pictures:
    records = torch.from_numpy(content).view(-1, 1 + 3 * 32 * 32)
    ids = torch.arange(first_id, first_id + len(records))
    return Pictures(records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long(), ids)
