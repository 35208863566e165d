"""CUB-200-2011 in small, laid out like the real one: classes are cut in two, and what is hidden is left out."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from common.errors import UserError
from data.benchmarks.published.birds import Birds

COLOURS = {
    "001.Albatross": (200, 10, 10),
    "002.Auklet": (10, 200, 10),
    "003.Bunting": (10, 10, 200),
    "004.Cardinal": (90, 90, 0),
}


class MeanColour(nn.Module):
    def embed_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean(dim=(2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (60, 40), colour).save(tmp_path / "images" / name / f"{name}_{k}.jpg")
        (tmp_path / "images" / name / f"._{name}_0.jpg").write_bytes(b"left behind by a file system")
    return tmp_path


def test_the_second_half_of_the_classes_is_never_trained_on(folder: Path) -> None:
    made = Birds(batch_size=4, side=16, workers=0, data_root=str(folder))
    made.prepare_data()
    assert made.sizes() == {"train": 6, "test": 6} and made.val_dataloader() == []
    assert {path.parent.name for path in made.train.paths} == {"001.Albatross", "002.Auklet"}
    assert made.files("test").labels.tolist() == [0, 0, 0, 1, 1, 1]
    (batch,) = made.train_dataloader()
    assert made.on_after_batch_transfer(batch, 0).views.shape == (1, 4, 3, 16, 16)
    found = made.evaluate(MeanColour())
    assert found["recall@1/gallery6"] == 1 and found["map/gallery6"] == 1
    assert made.floor()["chance"]["recall@1/gallery6"] == pytest.approx(2 / 5)
    assert len(made.fingerprint()) == 64


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"CUB-200-2011: .*images is not in"):
        Birds(data_root=str(folder / "images")).prepare_data()
    for path in (folder / "images" / "004.Cardinal").glob("0*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match=r"004.Cardinal holds 0 pictures"):
        Birds(workers=0, data_root=str(folder)).sizes()
    with pytest.raises(UserError, match="split is 'val'; it must be 'test'"):
        Birds(data_root=str(folder)).evaluate(MeanColour(), "val")
