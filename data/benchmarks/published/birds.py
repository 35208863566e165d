"""CUB-200-2011: kinds of birds that are looked for by kinds that were never seen."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import class_retrieval_metrics, ranking_chance
from common.protocols import EmbedsImage
from data.benchmarks.published.imagenet import Files, ImageNet
from data.published import published_folder

RECALLS = (1, 2, 4, 8)


class Birds(ImageNet):
    """CUB-200-2011, cut by its classes as metric learning has it: the first half to train on, the second to score.

    Args:
        views: random resized crops of each picture.
        crop, side, threads, workers, batch_size, seed: as in `ImageNet`.
        data_root: folder with `images`, in it a folder for each class, 001.Black_footed_Albatross and so on.
        augmentation: the other arguments of `ImageAugmentation`.
    """

    name = "cub200"
    primary = "recall@1/gallery5924"

    def __init__(self, *, views: int = 1, crop: float = 0.08, batch_size: int = 100, **others) -> None:
        super().__init__(views=views, crop=crop, batch_size=batch_size, **others)

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="CUB-200-2011",
            files=["images"],
            where="https://www.vision.caltech.edu/datasets/cub_200_2011",
            terms="for research that is not commercial",
        )

    @cached_property
    def classes(self) -> list[str]:
        """Names of all folders, in their order."""
        return sorted(path.name for path in (self._folder() / "images").iterdir() if path.is_dir())

    def files(self, split: str, most: int | None = None) -> Files:
        """The pictures of the first ("train") or of the second half of the classes, by class and name."""
        half = len(self.classes) // 2
        paths, labels = [], []
        for label, name in enumerate(self.classes[:half] if split == "train" else self.classes[half:]):
            found = sorted((self._folder() / "images" / name).glob("[!.]*.jpg"))[:most]
            if len(found) < 2:
                raise UserError(f"{self._folder() / 'images' / name} holds {len(found)} pictures *.jpg; it must be two")
            paths += found
            labels += [label] * len(found)
        return Files(paths, labels, self.side, self.threads)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """By the cosine, each picture of the second half looks for the others of its class.

        Raises:
            UserError: the module does not offer `embed_image`, or the split is not "test".
        """
        if split != "test":
            raise UserError(f"split is {split!r}; it must be 'test'")
        embed_image, test = self.offered(module, EmbedsImage).embed_image, self.files("test")
        device = next((p.device for p in module.parameters()), torch.device("cpu"))

        def embedded(pixels: Tensor) -> Tensor:
            return F.normalize(embed_image(pixels.to(device)), dim=1)

        return class_retrieval_metrics(embed_dataset(embedded, test, 256, module).cpu(), test.labels, at=RECALLS)

    def floor(self) -> dict[str, Metrics]:
        """Chance, as if each class had the mean number of pictures."""
        test = self.files("test")
        each = round(len(test) / len(test.labels.unique()))
        chance = ranking_chance(each - 1, len(test) - 1, at=RECALLS)
        return {"chance": {f"{name}/gallery{len(test)}": value for name, value in chance.items()}}

    def sizes(self) -> dict[str, int]:
        return {split: len(self.files(split)) for split in ("train", "test")}

    def fingerprint(self) -> str:
        """Of the names of all pictures."""
        found = [[path.name for path in self.files(split).paths] for split in ("train", "test")]
        return digest(self.classes, *found, self.side)
