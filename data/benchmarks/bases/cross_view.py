"""The base of benchmarks of cross-view localization: which place of the map does a picture show?"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.augmentation import ImageAugmentation, turned
from common.batches import CrossViews
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.localization import chance_localization, localization_metrics
from common.protocols import EmbedsImage
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.sampling.mining import mine_hard_negatives
from common.sampling.neighbors import NeighborSampler, geographic_neighbors
from common.table import Table

_AT_ONCE = 256
"""Pictures that a module embeds in one call."""


class Pictures(Protocol):
    """A tensor of pictures, or files that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | list[int]) -> Tensor:
        """uint8 pixels, shape (n, channels, height, width)."""
        ...


class Pairs(NamedTuple):
    """What a method trains on: places, each as a query and as the reference that a query must find."""

    query: Pictures
    reference: Pictures
    coordinates: Tensor
    """Latitude and longitude in degrees, float, shape (n, 2)."""
    places: Tensor
    """Pairs with the same number show one place and never meet in a batch, int64, shape (n,)."""


P = TypeVar("P")


class StoredBatch(NamedTuple, Generic[P]):
    """A batch before its augmentation; fields as in `CrossViews`, pixels in uint8, or in the table files of them."""

    query: P
    reference: P
    coordinates: Tensor
    places: Tensor
    ids: Tensor


class Search(NamedTuple):
    """Queries to be found in a gallery of references."""

    query: Pictures
    reference: Pictures
    query_places: Tensor
    """int64, shape (n,)."""
    reference_places: Tensor
    """A reference with the query's place is right, int64, shape (m,)."""
    covering: Tensor | None = None
    """The references that cover the query's centre, its own among them, padded with -1, int64, shape (n, c)."""


class CrossView(Benchmark):
    """Learns from pairs of views of one place; scores how often the right reference comes first.

    The samplers of Sample4Geo (Deuser et al. 2023) are part of the benchmark: `sampling` says how batches are put
    together, and `RefreshNeighbors` among the trainer's callbacks replaces the neighbours by what the method confuses.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        sampling: "random" batches, or "gps": samples with their neighbours on the map. Until the first refresh, if the
            trainer has `RefreshNeighbors`.
        nearest, farther: neighbours that join a sample, as in `NeighborSampler`.
        pool: length of the list of neighbours that they are taken from.
        flip: probability that both views of a pair are mirrored.
        rotate: probability that both views of a pair are turned by one, two or three quarters.
        augmentation: the arguments of `ImageAugmentation`, drawn for each view by itself.
        workers: processes that read ahead.
    """

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        sampling: Literal["random", "gps"] = "gps",
        nearest: int = 32,
        farther: int = 32,
        pool: int = 128,
        flip: float = 0.5,
        rotate: float = 0.75,
        workers: int = 0,
        **augmentation,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if sampling not in ("random", "gps"):
            raise UserError(f"data.sampling is {sampling!r}; it must be 'random' or 'gps'")
        for name, share in (("flip", flip), ("rotate", rotate)):
            if not 0 <= share <= 1:
                raise UserError(f"data.{name} is {share}; it must be in [0, 1]")
        if not (nearest >= 0 and farther >= 0 and nearest + farther <= pool):
            raise UserError(f"data.pool is {pool}; it must be at least data.nearest and data.farther together")
        self.sampling = sampling
        self.nearest, self.farther, self.pool = nearest, farther, pool
        self.flip, self.rotate = flip, rotate
        self.workers = workers
        self.augmentation = ImageAugmentation(**augmentation)
        self.train: Pairs
        self._searches: dict[str, dict[str, Search]] = {}

    @property
    def scored_splits(self) -> tuple[str, ...]:
        return ("val", "test")

    @abstractmethod
    def load(self) -> Pairs:
        """Reads the sources and returns the train split."""

    @abstractmethod
    def read_searches(self, split: str) -> dict[str, Search]:
        """Makes what `searches` returns."""

    def searches(self, split: str) -> dict[str, Search]:
        """What is scored on a split, by the name in the metrics.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.scored_splits:
            scored = " or ".join(repr(name) for name in self.scored_splits)
            raise UserError(f"split is {split!r}; it must be {scored}")
        if split not in self._searches:
            self._searches[split] = self.read_searches(split)
        return self._searches[split]

    def build(self) -> None:
        self.train = self.load()

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        stored = StoredBatch(*self.train, torch.arange(len(self.train.places)))
        return Table(stored).loader_over(self.order(), self.workers)

    def order(self) -> GlobalBatchSampler:
        """Who meets whom in a batch."""
        size = len(self.train.places)
        first = torch.full((size, 1), -1)
        if self.sampling == "gps":
            first = geographic_neighbors(self.train.coordinates, min(self.pool, size - 1))
        taken = {"nearest": self.nearest, "farther": self.farther}
        return NeighborSampler(first, self.batch_size, self.seed, **taken, groups=self.train.places)

    def val_dataloader(self) -> list[str]:
        return [split for split in self.scored_splits if split == "val"]

    def neighbors(self, module: nn.Module) -> Tensor:
        """For each training pair those whose reference is most like its query, (n, pool); for `RefreshNeighbors`."""
        query, reference = (self._embedded(module, view) for view in self.train[:2])
        places = self.train.places.to(query.device)
        pool = min(self.pool, len(places))
        return mine_hard_negatives(query, reference, pool, query_ids=places, key_ids=places)[0]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits that validation and test yield pass through."""
        if not isinstance(batch, StoredBatch):
            return batch
        epoch = self.moment()
        return self.augmented(batch, epoch)

    def augmented(self, batch: StoredBatch[Tensor], epoch: int) -> CrossViews:
        """A batch at one epoch; the same pair looks the same in any batch and on any process."""
        mirror, turn = uniform(batch.ids, 2, self.seed, epoch, 2).unbind(1)
        quarters = torch.where(turn < self.rotate, 1 + (3 * turn / max(self.rotate, 1e-9)).long().clamp(max=2), 0)
        query, reference = (
            self.augmentation(pixels.float() / 255, batch.ids, self.seed, epoch, view)
            for view, pixels in enumerate(batch[:2])
        )
        mirror = (mirror < self.flip)[:, None, None, None]
        query, reference = (torch.where(mirror, view.flip(3), view) for view in (query, reference))
        return CrossViews(*self.turned(query, reference, quarters), *batch[2:])

    def turned(self, query: Tensor, reference: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
        """Both views after the camera has turned; here both look down from above."""
        return turned(query, quarters), turned(reference, quarters)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval by the cosine.

        Returns:
            For each search `recall@1`, `@5`, `@10` and `@1%` (among the first hundredth of the gallery), with
            `/galleryN` behind it, and `hit_rate/galleryN` where references overlap: the share of queries whose first
            reference covers their centre (Zhu et al. 2021, VIGOR).

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        searches = self.searches(split)
        metrics: Metrics = {}
        rows: dict[int, Tensor] = {}
        for name, search in searches.items():
            for pictures in search[:2]:
                if id(pictures) not in rows:  # both directions of a search embed the same pictures
                    rows[id(pictures)] = self._embedded(module, pictures)
            found = self.scored(name, rows[id(search.query)], rows[id(search.reference)], split)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        return metrics

    def scored(self, search: str, query: Tensor, reference: Tensor, split: str) -> Metrics:
        """The metrics of one search, from unit vectors (n, d) and (m, d)."""
        return localization_metrics(query, reference, *self.searches(split)[search][2:])

    def _embedded(self, module: nn.Module, pictures: Pictures) -> Tensor:
        embed_image = self.offered(module, EmbedsImage).embed_image
        return F.normalize(embed_dataset(embed_image, pictures, _AT_ONCE, module), dim=1)

    def floor(self) -> dict[str, Metrics]:
        """Chance: a random order of the gallery."""
        self.setup()
        return {
            "chance": {
                f"{name}/{metric}": value
                for name, search in self.searches("test").items()
                for metric, value in chance_localization(*search[2:]).items()
            }
        }

    def sizes(self) -> dict[str, int]:
        """Pairs to learn from, and queries of the first search."""
        self.setup()
        scored = {split: next(iter(self.searches(split).values())) for split in self.scored_splits}
        return {"train": len(self.train.places)} | {split: len(found.query) for split, found in scored.items()}

    def drawn_from(self) -> Tensor:
        """The places among which every seed's training places are, (n,)."""
        return self.train.places

    @abstractmethod
    def pictured(self) -> Iterator[object]:
        """What the pictures and the coordinates were read from, for `digest`."""

    def fingerprint(self) -> str:
        self.setup()
        found = [self.drawn_from()]
        for split in self.scored_splits:
            for search in self.searches(split).values():
                found += [field for field in search[2:] if field is not None]
        return digest(*self.pictured(), *found)
