"""HumanML3D and KIT-ML as published, in the layout of TMR's authors: for the full recipes of text-to-motion papers."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from common.benchmark import digest
from common.lines import read_lines
from data.benchmarks.bases.captioned_motion import CaptionedMotion, Described
from data.published import published_folder, read_json

RATE = 20
"""Frames a second."""
SECONDS = (2.0, 10.0)
"""Shortest and longest description that is trained or validated on; the test split is taken as it is."""
_SPLITS = ("train", "val", "test", "nsim_test")
_FEATURES = "datasets/motions/guoh3dfeats"


class HumanML3D(CaptionedMotion):
    """HumanML3D (Guo et al. 2022): 263 features a frame at 20 Hz, normalized, the train split with mirrored copies.

    The caption similarity is the cosine under all-mpnet-base-v2, the subset of dissimilar captions that of the authors.

    Args:
        batch_size, seed: as in `Benchmark`.
        data_root: the authors' repository after its steps "Compute the features" and "Compute the text embeddings".
    """

    name = "humanml3d"
    published = True
    dissimilar = 100
    folder: ClassVar[str] = "humanml3d"
    """The data set's folder below datasets/annotations and stats."""

    def __init__(self, batch_size: int = 32, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)

    def prepare_data(self) -> None:
        self._root()

    def load(self) -> dict[str, Described]:
        root = self._root()
        annotations = read_json(root / self._annotations)
        mean, std = (torch.load(root / path, weights_only=True) for path in self._statistics)
        sentences = torch.from_numpy(np.load(root / self._embeddings)).float()
        row = read_json(root / self._index)
        splits, first, motions = {}, 0, {}
        for split in ("train", "val", "test"):
            keys, motion, text, counts = [], [], [], []
            for key in self._keys(split):
                known = annotations.get(key, {"annotations": ()})["annotations"]
                kept = [a for a in known if split == "test" or _right_length(a)]
                if not kept:
                    continue
                path = annotations[key]["path"]
                if path not in motions:
                    frames = torch.from_numpy(np.load(root / _FEATURES / f"{path}.npy")).float()
                    motions[path] = (frames - mean) / (std + 1e-12)
                # Slices share the memory of the whole motion.
                motion += [motions[path][int(a["start"] * RATE) : int(a["end"] * RATE)] for a in kept]
                text += [a["text"] for a in kept]
                counts.append(len(kept))
                keys.append(key)
            start = torch.tensor([0, *counts]).cumsum(0)
            meaning = sentences[[row[caption] for caption in text]]
            ids = torch.arange(first, first + len(keys))
            splits[split] = Described(motion, text, meaning, start, ids, None)
            first += len(keys)
            if split == "test":
                chosen = set(self._keys("nsim_test"))
                self._dissimilar = torch.tensor([place for place, key in enumerate(keys) if key in chosen])
        return splits

    def dissimilar_subset(self, split: str) -> Tensor:
        """The authors' choice on "test"; on "val", where they made none, as in the base."""
        return self._dissimilar if split == "test" else super().dissimilar_subset(split)

    def fingerprint(self) -> str:
        """Of the lists, the statistics and the sentences' embeddings, and of the names and sizes of the motions."""
        root = self._root()
        lists = (f"datasets/annotations/{self.folder}/splits/{split}.txt" for split in _SPLITS)
        files = (self._annotations, *lists, *self._statistics, self._embeddings, self._index)
        motions = sorted((root / _FEATURES).rglob("*.npy"))
        sizes = [(file.relative_to(root).as_posix(), file.stat().st_size) for file in motions]
        return digest(*((root / file).read_bytes() for file in files), sizes)

    def _keys(self, split: str) -> list[str]:
        lines = read_lines(self._root() / f"datasets/annotations/{self.folder}/splits/{split}.txt")
        return [line.strip() for line in lines if line.strip()]

    @property
    def _annotations(self) -> str:
        return f"datasets/annotations/{self.folder}/annotations.json"

    @property
    def _statistics(self) -> tuple[str, str]:
        return f"stats/{self.folder}/guoh3dfeats/mean.pt", f"stats/{self.folder}/guoh3dfeats/std.pt"

    @property
    def _embeddings(self) -> str:
        folder = f"datasets/annotations/{self.folder}/sent_embeddings/sentence-transformers"
        return f"{folder}/all-mpnet-base-v2.npy"

    @property
    def _index(self) -> str:
        return self._embeddings.replace(".npy", "_index.json")

    def _root(self) -> Path:
        splits = [f"datasets/annotations/{self.folder}/splits/{split}.txt" for split in _SPLITS]
        return published_folder(
            self.data_root,
            title=f"{self.name} for TMR",
            files=[self._annotations, *splits, *self._statistics, self._embeddings, self._index, _FEATURES],
            where="https://github.com/Mathux/TMR (README, «Set up the datasets»), whose motions come from AMASS",
            terms="AMASS is for non-commercial research, after registration",
        )


class KitML(HumanML3D):
    """KIT-ML (Plappert et al. 2016) with the features of HumanML3D, as TMR's authors use it. Arguments as there."""

    name = "kitml"
    folder = "kitml"


def _right_length(annotation: dict) -> bool:
    shortest, longest = SECONDS
    return shortest <= annotation["end"] - annotation["start"] <= longest
