"""STL-10 as published: many pictures without labels to learn from, few with labels to score by."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from data.benchmarks.bases.images import LabelledImages, Pictures
from data.published import published_folder

SIDE = 96
_AT_ONCE = 1000
"""Pictures that are made smaller in one call."""
FOLDER = "stl10_binary"
UNLABELLED = f"{FOLDER}/unlabeled_X.bin"
LABELLED = {split: (f"{FOLDER}/{split}_X.bin", f"{FOLDER}/{split}_y.bin") for split in ("train", "test")}
_FIRST_ID = {"train": 0, "test": 100_000, "unlabelled": 200_000}


class STL10(LabelledImages):
    """100,000 pictures without labels, 5,000 with labels to fit on and 8,000 to test, 96x96 RGB, binary version.

    Methods train on the pictures without labels; vote and probe are fitted on the 5,000. No validation split.

    Args:
        side: of the pictures, in pixels; below 96 they are made smaller as they are read.
        kwargs: as in `LabelledImages`.
    """

    name = "stl10"
    published = True
    classes = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    gallery_per_class = 500
    added_later: ClassVar[dict[str, Any]] = {"side": SIDE}

    def __init__(self, side: int = SIDE, **kwargs) -> None:
        super().__init__(**kwargs)
        if not 1 <= side <= SIDE:
            raise UserError(f"data.side is {side}; it must be from 1 to {SIDE}")
        self.side = side

    def prepare_data(self) -> None:
        self._folder()

    def val_dataloader(self) -> list[str]:
        return []

    def load(self) -> dict[str, Pictures]:
        folder = self._folder()
        return {
            split: self._pictures(folder / pixels, _FIRST_ID[split], np.fromfile(folder / labels, np.uint8))
            for split, (pixels, labels) in LABELLED.items()
        }

    def training_set(self, train: Pictures) -> Pictures:
        return self._pictures(self._folder() / UNLABELLED, _FIRST_ID["unlabelled"])

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="STL-10, binary version",
            files=[UNLABELLED, *(file for files in LABELLED.values() for file in files)],
            where="https://cs.stanford.edu/~acoates/stl10/",
            terms="cite Coates, Ng and Lee 2011",
        )

    def _pictures(self, file: Path, first_id: int, labels: np.ndarray | None = None) -> Pictures:
        """Classes count from 1 in the file and from 0 here; without labels they are -1."""
        # Stored plane by plane and column by column.
        stored = torch.from_numpy(np.fromfile(file, np.uint8)).view(-1, 3, SIDE, SIDE).transpose(2, 3)
        pixels = torch.cat([self._smaller(part) for part in stored.split(_AT_ONCE)])
        ids = torch.arange(first_id, first_id + len(pixels))
        classes = torch.full((len(pixels),), -1) if labels is None else torch.from_numpy(labels).long() - 1
        return Pictures(pixels, classes, ids)

    def _smaller(self, pixels: Tensor) -> Tensor:
        if self.side == SIDE:
            return pixels
        resized = F.interpolate(pixels.float(), (self.side, self.side), mode="bilinear", antialias=True)
        return resized.round().clamp(0, 255).byte()
