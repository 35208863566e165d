"""AgeDB-DIR and IMDB-WIKI-DIR: faces whose age is to be told, with more of some ages than of others."""

import csv
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.regression import regression_metrics
from common.paths import as_path
from common.protocols import EmbedsImage
from data.benchmarks.bases.quantities import quantity_metrics
from data.benchmarks.published.imagenet import Files, ImageNet
from data.published import published_folder

_COLUMNS = ("age", "path", "split")


class _WholeFiles(Files):
    """Pictures brought to their side whole, whatever their shape."""

    def __getitem__(self, part: slice) -> Tensor:
        return self._read([(path, (1.0, [])) for path in self.paths[part]])


class Ages(ImageNet):
    """Faces and their ages, as Yang et al. 2021 cut AgeDB and IMDB-WIKI: uneven to train on, even to score.

    A batch names the age in years as target, and in whole years as label.

    Args:
        table: file in the folder, "agedb.csv" or "imdb_wiki.csv", with the columns age, path (in the folder) and split.
        views: of each picture, brought to its side whole.
        side, threads, workers, batch_size, seed: as in `ImageNet`.
        data_root: folder with the table and the pictures that it names.
        augmentation: the arguments of `ImageAugmentation`.

    Source: Yang et al. 2021 (Delving into Deep Imbalanced Regression), the released tables.
    """

    name = "ages"
    primary = "probe_ridge/mae"

    def __init__(self, *, table: str = "agedb.csv", views: int = 2, batch_size: int = 64, **others) -> None:
        super().__init__(views=views, crop=1.0, batch_size=batch_size, **others)
        self.table = table

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="AgeDB-DIR or IMDB-WIKI-DIR",
            files=[self.table],
            where="https://github.com/YyzHarry/imbalanced-regression, which says where the pictures are",
            terms="pictures for research that is not commercial",
        )

    @cached_property
    def rows(self) -> dict[str, list[tuple[Path, float]]]:
        """Picture and age of each row, by its split.

        Raises:
            UserError: names the table, and the column that is missing or the line that is wrong.
        """
        path = as_path(str(self._folder() / self.table), "data.table")
        found: dict[str, list[tuple[Path, float]]] = {"train": [], "val": [], "test": []}
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            for column in _COLUMNS:
                if column not in (table.fieldnames or ()):
                    raise UserError(f"{path} has no column {column!r}; it must have {', '.join(_COLUMNS)}")
            for row in table:
                try:
                    found[row["split"]].append((self._folder() / row["path"], float(row["age"])))
                except (KeyError, ValueError, TypeError):
                    given = ", ".join(f"{column} {row[column]!r}" for column in _COLUMNS)
                    wanted = "an age in years and the split train, val or test"
                    raise UserError(f"{path}:{table.line_num}: {given}; it must be {wanted}") from None
        return found

    def files(self, split: str, most: int | None = None) -> Files:
        """The pictures of a split in the order of the table, which is random; labels are whole years."""
        rows = self.rows[split][:most]
        if not rows:
            raise UserError(f"{self._folder() / self.table} has no row of the split {split!r}")
        return _WholeFiles([path for path, _ in rows], [int(age) for _, age in rows], self.side, self.threads)

    def ages(self, split: str) -> Tensor:
        """In years, float32, in the order of `files`."""
        return torch.tensor([age for _, age in self.rows[split]])

    @cached_property
    def trained_ages(self) -> Tensor:
        return self.ages("train")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images = super().on_after_batch_transfer(batch, dataloader_idx)
        if images is batch:
            return batch
        return images._replace(targets=self.trained_ages[images.ids.cpu()].to(images.views.device))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """What a ridge regression fitted on the training pictures says of the ages of others, in years.

        Returns:
            See `quantity_metrics`.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.check_request(module, split, EmbedsImage)
        parts = [(self.files(name), self.ages(name)) for name in ("train", "val", split)]
        return quantity_metrics(module, *parts, at_once=256)

    def val_dataloader(self) -> list[str]:
        return ["val"]

    def floor(self) -> dict[str, Metrics]:
        """The mean of the ages that are trained on."""
        truth = self.ages("test")
        found = regression_metrics(self.trained_ages.mean().expand(len(truth)), truth)
        return {"mean": {f"probe_ridge/{name}": value for name, value in found.items()} | {"distances/spearman": 0.0}}

    def sizes(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self.rows.items()}

    def fingerprint(self) -> str:
        """Of the table."""
        rows = [[(path.name, age) for path, age in rows] for rows in self.rows.values()]
        return digest(self.table, *rows, self.side)
