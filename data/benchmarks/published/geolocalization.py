"""Cross-view localization as published: CVUSA, CVACT, VIGOR and University-1652, in the layouts of their authors."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from torch import Tensor

from common.augmentation import panned, turned
from common.errors import UserError
from common.lines import read_lines, read_table
from common.sampling.batches import GlobalBatchSampler
from common.sampling.labels import DistinctLabelSampler
from data.benchmarks.bases.cross_view import CrossView, Pairs, Search
from data.published import published_folder

DataSet = Literal["cvusa", "cvact", "vigor_same_area", "vigor_cross_area", "university1652"]
CITIES = {
    ("vigor_same_area", "train"): ("Chicago", "NewYork", "SanFrancisco", "Seattle"),
    ("vigor_same_area", "test"): ("Chicago", "NewYork", "SanFrancisco", "Seattle"),
    ("vigor_cross_area", "train"): ("NewYork", "Seattle"),
    ("vigor_cross_area", "test"): ("Chicago", "SanFrancisco"),
}
_METRES_PER_DEGREE = 111_195


def _vigor_lists(*names: str) -> list[str]:
    return [f"splits/{city}/{name}.txt" for city in CITIES["vigor_same_area", "train"] for name in names]


_VIGOR = {"title": "VIGOR", "where": "https://github.com/Jeff-Zilence/VIGOR"}
_SOURCES: dict[str, dict[str, Any]] = {
    "cvusa": {
        "title": "CVUSA",
        "where": "https://mvrl.cse.wustl.edu/datasets/cvusa/",
        "files": ["splits/train-19zl.csv", "splits/val-19zl.csv", "split_locations/all.csv"],
    },
    "cvact": {
        "title": "CVACT",
        "where": "https://github.com/Liumouliu/OriCNN",
        "files": ["ACT_data.mat"]
        + [
            f"{part}/{view}"
            for part in ("ANU_data_small", "ANU_data_test")
            for view in ("streetview", "satview_polish")
        ],
    },
    "vigor_same_area": {
        **_VIGOR,
        "files": _vigor_lists("satellite_list", "same_area_balanced_train", "same_area_balanced_test"),
    },
    "vigor_cross_area": {**_VIGOR, "files": _vigor_lists("satellite_list", "pano_label_balanced")},
    "university1652": {
        "title": "University-1652",
        "where": "https://github.com/layumi/University1652-Baseline",
        "files": [f"train/{view}" for view in ("drone", "satellite")]
        + [f"test/{role}_{view}" for role in ("query", "gallery") for view in ("drone", "satellite")],
    },
}


@dataclass(frozen=True)
class ImageFiles:
    """Pictures of one size that are read when they are asked for.

    Args:
        folder: where the files are.
        files: paths inside it.
        size: height and width that they are brought to.
    """

    folder: Path = field(repr=False)
    files: tuple[str, ...]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: slice | list[int]) -> Tensor:
        """uint8 pixels, shape (n, 3, height, width)."""
        chosen = self.files[index] if isinstance(index, slice) else [self.files[i] for i in index]
        with ThreadPoolExecutor(8) as pool:  # decoding and resizing release the interpreter's lock
            return torch.stack(list(pool.map(self._read, chosen)))

    def _read(self, file: str) -> Tensor:
        try:
            picture = Image.open(self.folder / file).convert("RGB")
        except OSError as error:
            raise UserError(f"{self.folder / file} cannot be read: {error}") from None
        height, width = self.size
        pixels = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels).permute(2, 0, 1)


class Geolocalization(CrossView):
    """Street panoramas or drone pictures to be found among satellite pictures.

    A panorama is as wide as two satellite pictures. CVACT alone has a "val" split; the others are scored on "test".
    University-1652 has no coordinates and many drone pictures of a building, which never meet in a batch.

    Args:
        dataset: which of them.
        side: of a satellite picture in pixels.
        data_root: the data set's folder.
        others: as in `CrossView`.
    """

    name = "geolocalization"
    published = True

    def __init__(self, dataset: DataSet = "cvusa", side: int = 384, **others) -> None:
        super().__init__(**others)
        if dataset not in _SOURCES:
            raise UserError(f"data.dataset is {dataset!r}; it must be one of {', '.join(_SOURCES)}")
        if dataset == "university1652" and self.sampling == "gps":
            raise UserError("data.sampling is 'gps'; University-1652 has no coordinates, so it must be 'random'")
        self.dataset = dataset
        self.side = side

    @property
    def primary(self) -> str:
        name, search = next(iter(self.searches("test").items()))
        return f"{name}/recall@1/gallery{len(search.reference)}"

    def prepare_data(self) -> None:
        self._folder()

    @property
    def scored_splits(self) -> tuple[str, ...]:
        return ("val", "test") if self.dataset == "cvact" else ("test",)

    def load(self) -> Pairs:
        folder = self._folder()
        match self.dataset:
            case "cvusa":
                return self._cvusa(folder, "train-19zl.csv")
            case "cvact":
                return self._cvact(folder, "trainSet")
            case "university1652":
                return self._university(folder)
        return self._vigor(folder, "train")[0]

    def read_searches(self, split: str) -> dict[str, Search]:
        folder = self._folder()
        match self.dataset:
            case "cvusa":
                pairs = self._cvusa(folder, "val-19zl.csv")
            case "cvact" if split == "val":
                pairs = self._cvact(folder, "valSet")
            case "cvact":
                found = sorted((folder / "ANU_data_test" / "streetview").glob("*_grdView.jpg"))
                names = [file.name.removesuffix("_grdView.jpg") for file in found]
                pairs = self._cvact_pairs(folder, "ANU_data_test", names)
            case "university1652":
                return {
                    "drone_to_satellite": self._university_search(folder, "drone", "satellite"),
                    "satellite_to_drone": self._university_search(folder, "satellite", "drone"),
                }
            case _:
                pairs, gallery, covering = self._vigor(folder, "test")
                everywhere = torch.arange(len(gallery))
                return {"ground_to_satellite": Search(pairs.query, gallery, pairs.places, everywhere, covering)}
        return {"ground_to_satellite": Search(pairs.query, pairs.reference, pairs.places, pairs.places)}

    def pictured(self) -> Iterator[object]:
        """The lists, which hold the coordinates, and the names of the pictures: hashing these would take hours."""
        folder = self._folder()
        listed = (folder / file for file in _SOURCES[self.dataset]["files"])
        yield from (file.read_bytes() for file in listed if file.is_file())
        searches = (search for split in self.scored_splits for search in self.searches(split).values())
        yield from (pictures for part in (self.train, *searches) for pictures in part[:2])

    def order(self) -> GlobalBatchSampler:
        if self.dataset == "university1652":
            return DistinctLabelSampler(self.train.places, self.batch_size, self.seed)
        return super().order()

    def turned(self, query: Tensor, reference: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
        """A panorama turns along with its map; a drone picture says nothing of where north is, and stays."""
        query = query if self.dataset == "university1652" else panned(query, quarters)
        return query, turned(reference, quarters)

    def _folder(self) -> Path:
        return published_folder(
            self.data_root, terms="under its authors' terms, stated there", **_SOURCES[self.dataset]
        )

    def _satellite(self, folder: Path, files: Iterable[str]) -> ImageFiles:
        return ImageFiles(folder, tuple(files), (self.side, self.side))

    def _ground(self, folder: Path, files: Iterable[str], height_by_width: float) -> ImageFiles:
        width = 2 * self.side
        return ImageFiles(folder, tuple(files), (round(height_by_width * width), width))

    def _cvusa(self, folder: Path, file: str) -> Pairs:
        rows = _table(folder / "splits" / file)
        # Pictures are named by the line, from 1, that their place has in the table of coordinates.
        number = [int(Path(row[0]).stem) for row in rows]
        everywhere = [[float(row[2]), float(row[3])] for row in _table(folder / "split_locations" / "all.csv")]
        return Pairs(
            self._ground(folder, (row[1] for row in rows), 224 / 1232),
            self._satellite(folder, (row[0] for row in rows)),
            torch.tensor([everywhere[n - 1] for n in number], dtype=torch.float64),
            torch.tensor(number),
        )

    def _cvact(self, folder: Path, part: str) -> Pairs:
        table = loadmat(str(folder / "ACT_data.mat"))
        chosen = np.asarray(table[part][0][0][1]).ravel().astype(int) - 1
        names = [str(name).strip() for name in np.asarray(table["panoIds"]).ravel()]
        metres = torch.from_numpy(np.asarray(table["utm"], dtype=np.float64))
        # The published lists name some pictures that were never given out.
        here = [at for at in chosen.tolist() if _cvact_files(folder, "ANU_data_small", names[at])]
        pairs = self._cvact_pairs(folder, "ANU_data_small", [names[at] for at in here])
        # One city, in metres: laid around the equator, where a degree is as long either way.
        return pairs._replace(coordinates=(metres[here] - metres.mean(dim=0)) / _METRES_PER_DEGREE)

    def _cvact_pairs(self, folder: Path, part: str, names: list[str]) -> Pairs:
        found = (files for name in names if (files := _cvact_files(folder, part, name)))
        ground, satellite = zip(*found, strict=True)
        views = self._ground(folder, ground, 224 / 1232), self._satellite(folder, satellite)
        return Pairs(*views, torch.full((len(ground), 2), torch.nan), torch.arange(len(ground)))

    def _vigor(self, folder: Path, split: str) -> tuple[Pairs, ImageFiles, Tensor]:
        """Pairs, all satellite pictures of the split's cities, and those that cover each panorama."""
        labels = f"same_area_balanced_{split}" if self.dataset == "vigor_same_area" else "pano_label_balanced"
        satellites: dict[str, str] = {}
        ground, covering = [], []
        for city in CITIES[self.dataset, split]:
            for line in _lines(folder / f"splits/{city}/satellite_list.txt"):
                satellites[line] = f"satellite/{city}/{line}"
            number = {name: place for place, name in enumerate(satellites)}
            for line in _lines(folder / f"splits/{city}/{labels}.txt"):
                # A panorama, its satellite picture, and three more that cover it, each with an offset in two columns.
                name, *rest = line.split()
                if unknown := [satellite for satellite in rest[::3] if satellite not in number]:
                    raise UserError(f"{labels}.txt of {city}: {unknown[0]} of {name} is not in satellite_list.txt")
                ground.append(f"ground/{city}/{name}")
                covering.append([number[satellite] for satellite in rest[::3]])
        files = list(satellites.values())
        places = torch.tensor(covering)[:, 0]
        at = [[float(x) for x in Path(file).stem.split("_")[1:]] for file in satellites]
        pairs = Pairs(
            self._ground(folder, ground, 1 / 2),
            self._satellite(folder, (files[place] for place in places.tolist())),
            torch.tensor(at, dtype=torch.float64)[places],
            places,
        )
        return pairs, self._satellite(folder, files), torch.tensor(covering)

    def _university(self, folder: Path) -> Pairs:
        drone, places = _by_building(folder, "train/drone")
        satellite, buildings = _by_building(folder, "train/satellite")
        above = dict(zip(buildings.tolist(), satellite, strict=True))
        return Pairs(
            self._satellite(folder, drone),
            self._satellite(folder, (above[place] for place in places.tolist())),
            torch.full((len(places), 2), torch.nan),
            places,
        )

    def _university_search(self, folder: Path, query: str, gallery: str) -> Search:
        asked, known = _by_building(folder, f"test/query_{query}"), _by_building(folder, f"test/gallery_{gallery}")
        return Search(self._satellite(folder, asked[0]), self._satellite(folder, known[0]), asked[1], known[1])


def _table(path: Path) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in read_table(path)]


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path) if line.strip()]


def _cvact_files(folder: Path, part: str, name: str) -> tuple[str, str] | None:
    """The panorama and the satellite picture of a place, if both are there."""
    files = f"{part}/streetview/{name}_grdView.jpg", f"{part}/satview_polish/{name}_satView_polish.jpg"
    return files if all((folder / file).is_file() for file in files) else None


def _by_building(folder: Path, part: str) -> tuple[list[str], Tensor]:
    """The pictures in a folder that has a sub-folder for each building, and their buildings."""
    files = sorted(file for file in (folder / part).glob("*/*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    places = torch.tensor([int(file.parent.name) for file in files])
    return [file.relative_to(folder).as_posix() for file in files], places
