"""Own pictures in classes."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.batches import Images
from common.errors import UserError
from data.benchmarks.own.image_folder import ImageFolder
from tests.data.benchmarks import own_files

PLAIN = {"crop": 1.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grayscale": 0.0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def benchmark(**options) -> ImageFolder:
    if not Path("pictures").exists():
        own_files.pictures(Path("pictures"), each=12, colours=["red", "blue", "green"])
    return ImageFolder(**{"path": "pictures", "batch_size": 6, "side": 16} | options)


def batches(data: ImageFolder, epoch: int = 0) -> list[Images]:
    loader = data.train_dataloader()
    loader.order.set_epoch(epoch)
    return [data.on_after_batch_transfer(raw, 0) for raw in loader]


class MeanColour(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return pixels.float().amax(dim=(2, 3)) / 255

    def classify_image(self, pixels: Tensor) -> Tensor:
        return 50 * self.embed_image(pixels)[:, [2, 1, 0]]


def test_every_class_is_in_every_split_and_scored_from_a_balanced_gallery() -> None:
    data = benchmark()
    assert data.sizes() == {"train": 27, "val": 3, "test": 6}
    assert data.classes == ["blue", "green", "red"]
    assert all(kept.labels.bincount().tolist() == [len(kept.labels) // 3] * 3 for kept in data.kept.values())
    metrics = data.evaluate(MeanColour())
    assert metrics["probe_ridge/top1"] == metrics["classifier/top1"] == 1.0
    floor = data.floor()
    assert floor["chance"]["probe_ridge/top1"] == pytest.approx(1 / 3) == floor["commonest class"]["probe_ridge/top1"]
    assert floor["pixels at 16"].keys() == floor["chance"].keys() <= metrics.keys()
    assert data.example().size[0] > 100 and data.fingerprint() == benchmark(seed=5).fingerprint()
    assert data.fingerprint() != benchmark(side=8).fingerprint()


def test_views_belong_to_the_picture_and_the_epoch() -> None:
    found = [batches(benchmark(workers=workers), epoch) for workers, epoch in ((0, 1), (2, 1), (0, 2))]
    assert all(batch.views.shape == (2, 6, 3, 16, 16) for batch in found[0])
    for one, other in zip(*found[:2], strict=True):
        assert torch.equal(one.views, other.views) and torch.equal(one.ids, other.ids)
    by_id = [
        {int(i): v for b in epoch for i, v in zip(b.ids, b.views.transpose(0, 1), strict=True)} for epoch in found[::2]
    ]
    both = by_id[0].keys() & by_id[1].keys()
    assert both and not any(torch.equal(by_id[0][i], by_id[1][i]) for i in both)
    assert not torch.equal(found[0][0].views[0], found[0][0].views[1])
    (batch, *_) = batches(benchmark(**PLAIN, views=1))
    strongest = batch.views[0].amax(dim=(2, 3)).argmax(dim=1)
    assert torch.equal(strongest, 2 - batch.labels), "blue, green, red"
    assert set(batch.ids.tolist()) <= set(benchmark().training_ids().tolist())


def test_a_table_of_pictures_of_any_kind() -> None:
    rng = random.Random(0)
    rows = ["picture,kind"]
    for i in range(24):
        colour = ["red", "blue"][i % 2]
        own_files.draw(Path(f"seen/{i}.png"), colour, rng)
        picture = Image.open(f"seen/{i}.png")
        kind = ("png", "jpg", "gif", "bmp", "webp", "tiff")[i // 2 % 6]
        picture = picture.convert("RGBA" if kind == "png" else "RGB")
        picture.save(f"seen/k{i}.{kind}")
        rows.append(f"seen/k{i}.{kind},{colour}")
    Path("seen.csv").write_text("\n".join(rows))
    data = ImageFolder(path="seen.csv", image="picture", label="kind", side=16, batch_size=4)
    assert data.sizes() == {"train": 18, "val": 2, "test": 4}
    assert data.evaluate(MeanColour())["knn20_centred/top1"] == 1.0
    grey = ImageFolder(path="seen.csv", image="picture", label="kind", side=16, batch_size=4, colour=False)
    assert batches(grey)[0].views.shape == (2, 4, 1, 16, 16)


def test_given_splits() -> None:
    own_files.pictures(Path("parted/train"), each=5, colours=["red", "blue"])
    own_files.pictures(Path("parted/test"), each=2, colours=["red", "blue"])
    assert ImageFolder(path="parted", batch_size=2).sizes() == {"train": 8, "val": 2, "test": 4}
    own_files.pictures(Path("parted/test"), each=1, colours=["green"])
    with pytest.raises(UserError, match=r"parted/test/green/0\.png: class 'green' has no picture to train on"):
        ImageFolder(path="parted").setup()


def test_a_damaged_picture_behind_a_sound_header_ends_the_training_in_one_line() -> None:
    benchmark()
    whole = Path("pictures/red/3.png").read_bytes()
    Path("pictures/red/3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"^pictures/red/3\.png: the picture cannot be read"):
        benchmark().setup()
    data = benchmark(check="headers", workers=1)
    errors = [batch for batch in data.train_dataloader() if isinstance(batch, UserError)]
    assert len(errors) == 1
    with pytest.raises(UserError, match=r"^pictures/red/3\.png: the picture cannot be read: [^\n]*$"):
        data.on_before_batch_transfer(errors[0], 0)
