"""ImageNet in small, laid out like the real one: which pictures, how they are cut, and that crops are repeated."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from common.errors import UserError
from data.benchmarks.published.imagenet import ImageNet

COLOURS = {"n01": (200, 10, 10), "n02": (10, 200, 10), "n03": (10, 10, 200)}


class MeanColour(nn.Module):
    def embed_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean(dim=(2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        for split, count in (("train", 5), ("val", 2)):
            (tmp_path / split / name).mkdir(parents=True)
            for k in range(count):
                picture = Image.new("RGB", (60, 40), colour)
                picture.paste((255, 255, 255), (0, 0, 6, 40))  # left of what the middle keeps
                picture.save(tmp_path / split / name / f"{name}_{k}.JPEG", quality=95)
    return tmp_path


def benchmark(folder: Path, **options) -> ImageNet:
    return ImageNet(**{"batch_size": 5, "side": 16, "workers": 0, "data_root": str(folder), **options})


def test_pictures_are_cut_to_their_middle_and_scored_by_class(folder: Path) -> None:
    made = benchmark(folder, gallery_per_class=4)
    made.prepare_data()
    assert made.sizes() == {"train": 15, "test": 6} and made.val_dataloader() == []
    whole = made.files("val")
    assert whole.labels.tolist() == [0, 0, 1, 1, 2, 2] and whole[0:2].shape == (2, 3, 16, 16)
    assert (whole[2:3].float().mean(dim=(0, 2, 3)) - torch.tensor([10.0, 200.0, 10.0])).abs().max() < 4
    assert made.evaluate(MeanColour())["probe_ridge/top1"] == 1
    assert made.evaluate(MeanColour()).keys() == made.floor()["chance"].keys()
    assert len(made.fingerprint()) == 64
    with pytest.raises(UserError, match="split is 'val'; it must be 'test'"):
        made.evaluate(MeanColour(), "val")


def test_a_batch_holds_crops_that_the_epoch_and_the_picture_fix(folder: Path) -> None:
    made = benchmark(folder, views=2, crop=0.1, flip=0.5)
    (first, *_), (again, *_) = list(made.train_dataloader()), list(made.train_dataloader())
    assert first.pixels.shape == (2, 5, 3, 16, 16) and torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels[0], first.pixels[1])
    later = made.train_dataloader()
    later.order.set_epoch(1)
    seen = {int(i): p for batch in later for i, p in zip(batch.ids, batch.pixels[0], strict=True)}
    assert any(not torch.equal(seen[int(i)], p) for i, p in zip(first.ids, first.pixels[0], strict=True))
    assert torch.equal(first.labels, made.train.labels[first.ids])
    assert made.training_ids().tolist() == list(range(15))
    batch = made.on_after_batch_transfer(first, 0)
    assert batch.views.shape == (2, 5, 3, 16, 16) and batch.views.max() <= 1


def test_a_list_of_classes_takes_a_part(folder: Path) -> None:
    (folder / "part.txt").write_text("n03\nn01\n")
    made = benchmark(folder, class_list=str(folder / "part.txt"))
    assert made.classes == ["n01", "n03"] and made.sizes() == {"train": 10, "test": 4}
    (folder / "part.txt").write_text("n07\n")
    with pytest.raises(UserError, match=r"n07 holds no picture \*\.JPEG"):
        benchmark(folder, class_list=str(folder / "part.txt")).sizes()
    with pytest.raises(UserError, match=r"ImageNet .*train is not in"):
        benchmark(folder / "train").prepare_data()
    with pytest.raises(UserError, match=r"data\.crop is 0"):
        ImageNet(crop=0)
