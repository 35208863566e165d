"""The four published data sets of cross-view localization, on tiny fixtures laid out like the real ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.published.geolocalization import CITIES, Geolocalization

SIDE = 16


def picture(folder: Path, file: str, place: int) -> None:
    """A picture of one colour, which says which place it shows."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 12), (10 * place, 255 - 10 * place, 100)).save(path, quality=100)


class Colour(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean(dim=(2, 3)) - 100


def benchmark(dataset: str, folder: Path, **switches) -> Geolocalization:
    switches = {"batch_size": 4, "nearest": 1, "farther": 1, "pool": 3} | switches
    found = Geolocalization(dataset, side=SIDE, data_root=str(folder), **switches)
    found.prepare_data()
    found.setup()
    return found


@pytest.fixture
def cvusa(tmp_path: Path) -> Path:
    for file, places in (("train-19zl.csv", (1, 2, 3, 4, 5, 6, 7, 8)), ("val-19zl.csv", (9, 10, 11))):
        (tmp_path / "splits").mkdir(exist_ok=True)
        with (tmp_path / "splits" / file).open("w", newline="") as out:
            for place in places:
                views = [f"bingmap/19/{place:07}.jpg", f"streetview/panos/{place:07}.jpg"]
                csv.writer(out).writerow([*views, f"streetview/annotations/{place:07}.png"])
                for view in views:
                    picture(tmp_path, view, place)
    (tmp_path / "split_locations").mkdir()
    # Line i is place i, from 1: the satellite's coordinates, the panorama's, and one more.
    lines = "".join(f"0, 0, {30 + place}, {-80 - place}, 7\n" for place in range(1, 12))
    (tmp_path / "split_locations" / "all.csv").write_text(lines)
    return tmp_path


@pytest.fixture
def cvact(tmp_path: Path) -> Path:
    names = [f"place{i}" for i in range(9)]
    for place, name in enumerate(names):
        if place != 2:  # listed, but not given out
            picture(tmp_path, f"ANU_data_small/streetview/{name}_grdView.jpg", place)
        picture(tmp_path, f"ANU_data_small/satview_polish/{name}_satView_polish.jpg", place)
    for place in (20, 21, 22):
        picture(tmp_path, f"ANU_data_test/streetview/t{place}_grdView.jpg", place)
        if place != 22:
            picture(tmp_path, f"ANU_data_test/satview_polish/t{place}_satView_polish.jpg", place)
    part = [[(np.array([[0]]), np.array([[i] for i in indices]))] for indices in ((1, 2, 3, 4, 5, 6), (7, 8, 9))]
    splits = dict(zip(("trainSet", "valSet"), ({"a": one[0][0], "b": one[0][1]} for one in part), strict=True))
    # 1000 m apart, in a city far from the equator's origin.
    utm = np.array([[690_000.0 + 1000 * i, 6_090_000.0] for i in range(9)])
    savemat(tmp_path / "ACT_data.mat", {"panoIds": np.array(names), "utm": utm, **splits})
    return tmp_path


@pytest.fixture
def vigor(tmp_path: Path) -> Path:
    for number, city in enumerate(CITIES["vigor_same_area", "train"]):
        base = 6 * number
        satellites = [f"satellite_{40 + base + k}.5_-{70 + base + k}.25.png" for k in range(6)]
        for k, name in enumerate(satellites):
            picture(tmp_path, f"satellite/{city}/{name}", base + k)
        folder = tmp_path / "splits" / city
        folder.mkdir(parents=True)
        (folder / "satellite_list.txt").write_text("\n".join(satellites) + "\n")
        lines = []
        for k, place in enumerate((0, 1, 2, 2, 4)):  # two panoramas of place 2
            picture(tmp_path, f"ground/{city}/pano{k}.jpg", base + place)
            covering = [(place + step) % 6 for step in range(4)]
            lines.append(" ".join([f"pano{k}.jpg", *(f"{satellites[c]} 1.5 -2.0" for c in covering)]))
        (folder / "same_area_balanced_train.txt").write_text("\n".join(lines[:4]))
        (folder / "same_area_balanced_test.txt").write_text("\n".join(lines[4:]))
        (folder / "pano_label_balanced.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def university(tmp_path: Path) -> Path:
    for building in (1, 2, 3, 4, 5):
        picture(tmp_path, f"train/satellite/{building:04}/{building:04}.jpg", building)
        for shot in range(3):
            picture(tmp_path, f"train/drone/{building:04}/image-{shot:02}.jpeg", building)
    for building in (6, 7, 8):
        picture(tmp_path, f"test/gallery_satellite/{building:04}/{building:04}.jpg", building)
        picture(tmp_path, f"test/gallery_drone/{building:04}/image-01.jpeg", building)
        picture(tmp_path, f"test/gallery_drone/{building:04}/image-02.jpeg", building)
        if building != 8:  # a distractor
            picture(tmp_path, f"test/query_satellite/{building:04}/{building:04}.jpg", building)
            picture(tmp_path, f"test/query_drone/{building:04}/image-01.jpeg", building)
    return tmp_path


def perfect(dataset: str, folder: Path, split: str = "test") -> dict[str, float]:
    return benchmark(dataset, folder, sampling="random").evaluate(Colour(), split)


def test_cvusa(cvusa: Path) -> None:
    data = benchmark("cvusa", cvusa)
    assert data.sizes() == {"train": 8, "test": 3}
    assert data.train.coordinates[2].tolist() == [33.0, -83.0]
    # The two neighbours nearest to the third place: the sampler takes one of them first.
    assert set(data.order().neighbors[2, :2].tolist()) == {1, 3}
    batch = data.augmented(next(iter(data.train_dataloader())), epoch=0)
    # A panorama of 1232x224, twice as wide as the satellite picture.
    assert batch.query.shape == (4, 3, 6, 2 * SIDE) and batch.reference.shape == (4, 3, SIDE, SIDE)
    assert (batch.query.mean((2, 3)) - batch.reference.mean((2, 3))).abs().max() < 0.02
    assert perfect("cvusa", cvusa)[data.primary] == 1.0
    assert data.primary == "ground_to_satellite/recall@1/gallery3"
    assert data.val_dataloader() == []
    with pytest.raises(UserError, match="split is 'val'; it must be 'test'"):
        data.evaluate(Colour(), "val")


def test_cvact_leaves_out_what_is_missing(cvact: Path) -> None:
    data = benchmark("cvact", cvact)
    assert data.sizes() == {"train": 5, "val": 3, "test": 2}
    assert data.val_dataloader() == ["val"]
    assert data.train.query.files[2].endswith("place3_grdView.jpg")
    # Places 0, 1, 3, 4 and 5 lie on a line: the nearest to place 5 are 4 and 3.
    assert data.order().neighbors[4, :2].tolist() == [3, 2]
    assert perfect("cvact", cvact, "val") == perfect("cvact", cvact, "val") != {}
    assert perfect("cvact", cvact)["ground_to_satellite/recall@1/gallery2"] == 1.0


def test_vigor(vigor: Path) -> None:
    data = benchmark("vigor_same_area", vigor)
    assert data.sizes() == {"train": 16, "test": 4}
    assert data.train.coordinates[0].tolist() == [40.5, -70.25]
    search = data.searches("test")["ground_to_satellite"]
    assert len(search.reference) == 24 and search.covering[1].tolist() == [10, 11, 6, 7]
    batch = next(iter(data.train_dataloader()))
    assert batch.query.shape == (4, 3, SIDE, 2 * SIDE)
    for epoch in range(20):
        order = data.order()
        order.set_epoch(epoch)
        assert all(data.train.places[index].unique().numel() == 4 for index in order)

    metrics = perfect("vigor_same_area", vigor)
    assert metrics["ground_to_satellite/recall@1/gallery24"] == metrics["ground_to_satellite/hit_rate/gallery24"] == 1.0
    across = benchmark("vigor_cross_area", vigor)
    assert across.sizes() == {"train": 10, "test": 10}
    assert across.train.query.files[0] == "ground/NewYork/pano0.jpg"
    assert len(across.searches("test")["ground_to_satellite"].reference) == 12


def test_university(university: Path) -> None:
    data = benchmark("university1652", university, sampling="random")
    assert data.sizes() == {"train": 15, "test": 2}
    assert all(data.train.places[index].unique().numel() == 4 for index in data.order())
    assert len(data.order()) == 3
    batch = data.augmented(next(iter(data.train_dataloader())), epoch=0)
    assert batch.query.shape == batch.reference.shape == (4, 3, SIDE, SIDE)
    metrics = data.evaluate(Colour())
    # Distractors stay in the gallery.
    assert metrics["drone_to_satellite/recall@1/gallery3"] == metrics["satellite_to_drone/recall@1/gallery6"] == 1.0
    assert 0 < data.floor()["chance"]["satellite_to_drone/recall@1/gallery6"] == pytest.approx(1 / 3)
    with pytest.raises(UserError, match="University-1652 has no coordinates"):
        Geolocalization("university1652", sampling="gps")


def test_a_panorama_turns_with_its_map(cvusa: Path) -> None:
    """North is in the middle of a panorama: what it shows at the east, the map shows on its right."""
    data = benchmark("cvusa", cvusa)
    panorama, satellite = torch.zeros(4, 1, 1, 32), torch.zeros(4, 1, SIDE, SIDE)
    panorama[..., 24] = 1  # a quarter to the right of the middle
    satellite[:, :, SIDE // 2, -1] = 1
    query, reference = data.turned(panorama, satellite, torch.arange(4))
    for quarter in range(4):
        bearing = (int(query[quarter, 0, 0].argmax()) - 16) * 360 // 32 % 360
        row, column = divmod(int(reference[quarter].argmax()), SIDE)
        seen = {(SIDE - 1,): 180, (0,): 0}.get((row,), 90 if column == SIDE - 1 else 270)
        assert bearing == seen


def test_the_fingerprint_follows_the_lists(cvusa: Path) -> None:
    before = benchmark("cvusa", cvusa).fingerprint()
    assert before == benchmark("cvusa", cvusa, batch_size=2).fingerprint()
    table = cvusa / "split_locations" / "all.csv"
    table.write_text(table.read_text().replace("0, 0, 31", "0, 0, 31.5"))
    assert benchmark("cvusa", cvusa).fingerprint() != before


def test_what_is_missing_or_wrong_is_named(cvusa: Path) -> None:
    with pytest.raises(UserError, match=r"VIGOR: data.data_root is None; get it from https://github.com/Jeff-Zilence"):
        Geolocalization("vigor_same_area").prepare_data()
    with pytest.raises(UserError, match=r"data\.dataset is 'paris'; it must be one of cvusa, cvact"):
        Geolocalization("paris")
    before = benchmark("cvusa", cvusa)
    (cvusa / before.train.query.files[0]).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0000001\.jpg cannot be read"):
        before.neighbors(Colour())
