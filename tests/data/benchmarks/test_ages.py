"""Faces with an age in small, laid out like AgeDB-DIR: a table beside the pictures that it names."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.published.ages import Ages

HEADER = "age,path,split\n"


class Brightness(nn.Module):
    """What it says is the mean pixel, which is the age."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean(dim=(2, 3))

    def tell_image(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean(dim=(1, 2, 3)) + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "AgeDB").mkdir()
    lines = []
    for number in range(18):
        age, split = 20 + 7 * number % 60, ("train", "train", "val", "test")[number % 4]
        # Wider than high: whoever keeps the middle alone would see no border.
        picture = Image.new("RGB", (64, 32), (age, age, age))
        picture.paste((255, 255, 255), (0, 0, 8, 32))
        picture.save(tmp_path / "AgeDB" / f"{number}.png")
        lines.append(f"{age}{'.5' if number == 1 else ''},AgeDB/{number}.png,{split}\n")
    (tmp_path / "agedb.csv").write_text(HEADER + "".join(lines), encoding="utf-8")
    return tmp_path


def made(folder: Path, **switches) -> Ages:
    return Ages(**{"batch_size": 4, "side": 16, "workers": 0, "data_root": str(folder), **switches})


def test_the_table_says_who_is_trained_on(folder: Path) -> None:
    ages = made(folder)
    ages.prepare_data()
    assert ages.sizes() == {"train": 10, "val": 4, "test": 4}
    batch = ages.on_after_batch_transfer(next(iter(ages.train_dataloader())), 0)
    assert batch.views.shape == (2, 4, 3, 16, 16)
    assert batch.measured().equal(ages.ages("train")[batch.ids]) and batch.labels.equal(batch.measured().long())
    assert ages.ages("train")[1] == 27.5 and ages.train.labels[1] == 27
    assert ages.on_after_batch_transfer("val", 0) == "val"
    assert len(ages.fingerprint()) == 64 != made(folder, side=8).fingerprint()


def test_pictures_are_seen_whole(folder: Path) -> None:
    pixels = made(folder).files("test")[0:1]
    assert pixels.shape == (1, 3, 16, 16) and pixels.dtype == torch.uint8
    assert (pixels[..., 0] == 255).all() and (pixels[..., -1] == 20 + 21).all()


def test_known_scores(folder: Path) -> None:
    found = made(folder).evaluate(Brightness())
    assert found["probe_ridge/spearman"] == pytest.approx(1) and len(found["probe_ridge/mae"].items) == 4
    offset = 255 * 2 / 16 + 1  # the border's share, the age's own aside
    truth = made(folder).ages("test")
    assert found["regressor/mae"] == pytest.approx(float((offset - truth * 2 / 16).mean()), abs=0.5)
    assert found["distances/spearman"] == 0, "grey is one direction"
    floor = made(folder).floor()["mean"]
    assert floor.keys() == {name for name in found if not name.startswith("regressor")}
    assert floor["probe_ridge/mae"] == pytest.approx(float((truth - made(folder).ages("train").mean()).abs().mean()))


def test_what_is_wrong_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"AgeDB-DIR or IMDB-WIKI-DIR: imdb_wiki.csv is not in"):
        made(folder, table="imdb_wiki.csv").prepare_data()
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        made(folder).evaluate(Brightness(), "train")
    for text, message in (
        ("age,path\n", "has no column 'split'; it must have age, path, split"),
        (
            HEADER + "old,a.png,train\n",
            "agedb.csv:2: age 'old', path 'a.png', split 'train'; it must be an age in years",
        ),
        (HEADER + "3,a.png,all\n", "agedb.csv:2: age '3', path 'a.png', split 'all'"),
        (HEADER + "3\n", "agedb.csv:2: age '3', path None, split None"),
        (HEADER + "3,a.png,val\n", "agedb.csv has no row of the split 'train'"),
    ):
        (folder / "agedb.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            _ = made(folder).train
    (folder / "agedb.csv").write_text(HEADER + "3,a.png,train\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        made(folder).train[0:1]
