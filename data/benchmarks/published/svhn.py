"""SVHN as published: house numbers, cropped to single digits."""

from pathlib import Path

import torch
from scipy.io import loadmat

from data.benchmarks.bases.images import LabelledImages, Pictures
from data.published import published_folder

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_FIRST_ID = {"train": 0, "test": 100_000}


class SVHN(LabelledImages):
    """73,257 digits to train on and 26,032 to test, 32x32 RGB, in the "cropped digits" format of MATLAB.

    Methods train on all of the train part, as in the papers, so there is no validation split. No flips: a mirrored
    digit is another shape. Arguments as in `LabelledImages`.
    """

    name = "svhn"
    published = True
    classes = tuple("0123456789")
    gallery_per_class = 4_000

    def prepare_data(self) -> None:
        self._folder()

    def val_dataloader(self) -> list[str]:
        return []

    def load(self) -> dict[str, Pictures]:
        return {split: _pictures(self._folder() / file, _FIRST_ID[split]) for split, file in FILES.items()}

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="SVHN, cropped digits",
            files=[*FILES.values()],
            where="http://ufldl.stanford.edu/housenumbers/",
            terms="non-commercial use; cite Netzer et al. 2011",
        )


def _pictures(file: Path, first_id: int) -> Pictures:
    """Stored by row, column, channel and picture; the digit 0 has the label 10."""
    stored = loadmat(file)
    pixels = torch.from_numpy(stored["X"]).permute(3, 2, 0, 1).contiguous()
    labels = torch.from_numpy(stored["y"]).flatten().long() % 10
    return Pictures(pixels, labels, torch.arange(first_id, first_id + len(labels)))
