"""ImageNet, and parts of it, as ILSVRC-2012 is mostly kept: a folder for each class under train and val."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.augmentation import ImageAugmentation, random_box
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.classes import class_chance, class_metrics
from common.evaluation.embed import embed_dataset
from common.lines import read_lines
from common.paths import as_path
from common.protocols import EmbedsImage
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.benchmarks.bases.images import Crops
from data.published import published_folder


class Files(Dataset):
    """Pictures that are read when they are asked for: whole ones cut to their middle, training batches cropped.

    Args:
        paths: of the pictures.
        labels: class of each.
        side: of what is returned, in pixels.
        threads: that read and decode.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], side: int, threads: int) -> None:
        self.paths, self.labels, self.side, self.threads = paths, torch.tensor(labels), side, threads

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> Tensor:
        """uint8, shape (n, 3, s, s): the shorter side is brought to s * 8 / 7, and the middle is kept."""
        return self._read([(path, None) for path in self.paths[part]])

    def cropped(self, ids: list[int], crop: float, views: int, *key: int) -> Tensor:
        """Random resized crops, uint8, shape (views, n, 3, s, s); `key` and the picture's number fix them."""
        draws = [uniform(torch.tensor(ids), 4, *key, view).tolist() for view in range(views)]
        wanted = [(self.paths[i], (crop, of)) for view in draws for i, of in zip(ids, view, strict=True)]
        return self._read(wanted).unflatten(0, (views, -1))

    def _read(self, wanted: list[tuple[Path, tuple[float, list[float]] | None]]) -> Tensor:
        with ThreadPoolExecutor(self.threads) as pool:  # decoding and resizing release the interpreter's lock
            return torch.stack(list(pool.map(lambda one: self._picture(*one), wanted)))

    def _picture(self, path: Path, drawn: tuple[float, list[float]] | None) -> Tensor:
        try:
            picture = Image.open(path).convert("RGB")
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        if drawn is None:
            (width, height), middle = picture.size, min(picture.size) * 7 / 8
            left, top = (width - middle) / 2, (height - middle) / 2
            box = (left, top, left + middle, top + middle)
        else:
            box = random_box(picture.size, *drawn)
        pixels = np.array(picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box))
        return torch.from_numpy(pixels).permute(2, 0, 1)


class _Batches(Dataset):
    """Takes a whole list of numbers at once and returns a batch in all its crops."""

    def __init__(self, files: Files, order: GlobalBatchSampler, crop: float, views: int) -> None:
        self.files, self.order, self.crop, self.views = files, order, crop, views

    def __getitem__(self, ids: list[int]) -> Crops:
        pixels = self.files.cropped(ids, self.crop, self.views, self.order.seed, self.order.epoch)
        return Crops(pixels, self.files.labels[ids], torch.tensor(ids))


class ImageNet(Benchmark):
    """ImageNet-1k or some of its classes; methods learn from crops of the train folder and are scored on val.

    Args:
        class_list: file with a class such as n02869837 on each line, as ImageNet-100 is given; none takes all.
        side: of the pictures, in pixels.
        views: random resized crops of each picture.
        crop: smallest share of the area that a crop keeps, with sides from 3/4 to 4/3.
        gallery_per_class: training pictures of a class that the probes are fitted on, the first by name.
        threads: that read and decode.
        workers: processes that read ahead.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with `train` and `val`, in each a folder for each class.
        augmentation: the other arguments of `ImageAugmentation`.
    """

    name = "imagenet"
    primary = "probe_ridge/top1"
    published = True

    def __init__(
        self,
        *,
        class_list: str | None = None,
        side: int = 224,
        views: int = 2,
        crop: float = 0.2,
        gallery_per_class: int = 100,
        threads: int = 8,
        workers: int = 4,
        batch_size: int = 256,
        seed: int = 0,
        data_root: str | None = None,
        **augmentation,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        counts = dict(side=side, views=views, gallery_per_class=gallery_per_class, threads=threads)
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"data.{name} is {value}; it must be at least 1")
        if not 0 < crop <= 1:
            raise UserError(f"data.crop is {crop}; it must be in (0, 1]")
        self.class_list, self.side, self.views, self.crop = class_list, side, views, crop
        self.gallery_per_class, self.threads, self.workers = gallery_per_class, threads, workers
        self.augmentation = ImageAugmentation(**augmentation)

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="ImageNet (ILSVRC-2012)",
            files=["train", "val"],
            where="https://image-net.org",
            terms="for research that is not commercial, after registration",
        )

    def prepare_data(self) -> None:
        self._folder()

    def val_dataloader(self) -> list[str]:
        return []

    @cached_property
    def classes(self) -> list[str]:
        """Names of the folders, in their order."""
        if self.class_list is None:
            return sorted(path.name for path in (self._folder() / "train").iterdir() if path.is_dir())
        return sorted(line.strip() for line in read_lines(as_path(self.class_list, "data.class_list")) if line.strip())

    def files(self, split: str, most: int | None = None) -> Files:
        """The pictures of "train" or "val", by class and name; at most so many of a class."""
        paths, labels = [], []
        for label, name in enumerate(self.classes):
            folder = self._folder() / split / name
            found = sorted(folder.glob("*.JPEG"))[:most]
            if not found:
                raise UserError(f"{folder} holds no picture *.JPEG")
            paths += found
            labels += [label] * len(found)
        return Files(paths, labels, self.side, self.threads)

    @cached_property
    def train(self) -> Files:
        return self.files("train")

    def training_ids(self) -> Tensor:
        return torch.arange(len(self.train))

    def train_dataloader(self) -> ResumableLoader:
        order = GlobalBatchSampler(len(self.train), self.batch_size, self.seed)
        batches = _Batches(self.train, order, self.crop, self.views)
        return ResumableLoader(batches, sampler=order, batch_size=None, num_workers=self.workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits pass through."""
        epoch = self.moment()
        return batch.augmented(self.augmentation, self.seed, epoch) if isinstance(batch, Crops) else batch

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`class_metrics` of the val folder, the gallery being training pictures.

        Raises:
            UserError: the module does not offer `embed_image`, or the split is not "test".
        """
        if split != "test":
            raise UserError(f"split is {split!r}; it must be 'test'")
        embed_image = self.offered(module, EmbedsImage).embed_image
        gallery, test = self.files("train", self.gallery_per_class), self.files("val")
        device = next((p.device for p in module.parameters()), torch.device("cpu"))

        def rows(files: Files) -> Tensor:
            return embed_dataset(lambda pixels: embed_image(pixels.to(device)), files, 256, module).cpu()

        return class_metrics(rows(gallery), gallery.labels, rows(test), test.labels)

    def floor(self) -> dict[str, Metrics]:
        """Chance."""
        return {"chance": class_chance(len(self.classes), self.gallery_per_class)}

    def sizes(self) -> dict[str, int]:
        return {"train": len(self.train), "test": len(self.files("val"))}

    def fingerprint(self) -> str:
        """Of the names of all pictures: hashing 150 GB would take an hour."""
        found = [[path.name for path in self.files(split).paths] for split in ("train", "val")]
        return digest(self.classes, *found, self.side)
