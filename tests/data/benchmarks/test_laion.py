"""LAION-400M and MS-COCO in small, laid out like the real ones."""

import io
import itertools
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.augmentation import random_box
from common.batches import ImageText
from common.errors import UserError
from data.benchmarks.bases.told_words import told
from data.benchmarks.published.laion import Laion400M
from tests.data.benchmarks.by_colour import ByColour

SIZES = (5, 3, 4)


def jpeg(colour: int, size: tuple[int, int] = (40, 30)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 255 - colour)).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    (root / "laion400m").mkdir()
    (root / "coco/val2014").mkdir(parents=True)
    number = 0
    for shard, size in enumerate(SIZES):
        with tarfile.open(root / f"laion400m/{shard:05}.tar", "w") as tar:
            for place in range(size):
                # Of the samples that could not be fetched the numbers are missing.
                key, contents = f"{shard:05}{2 * place:04}", {}
                contents["jpg"], contents["txt"] = jpeg(10 * number), f"picture {number}, café".encode()
                contents["json"] = b'{"status": "success"}'
                for kind, content in contents.items():
                    info = tarfile.TarInfo(f"{key}.{kind}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                number += 1
        stats = {"count": 2 * size, "successes": size}
        (root / f"laion400m/{shard:05}_stats.json").write_text(json.dumps(stats))
    images = []
    for k, split in enumerate(["test", "val", "test", "train", "test"]):
        name = f"COCO_val2014_{k:012}.jpg"
        (root / "coco/val2014" / name).write_bytes(jpeg(50 * k))
        sentences = [{"raw": f"{'nice ' * n}colour {50 * k}"} for n in range(6)]
        images.append({"filepath": "val2014", "filename": name, "split": split, "sentences": sentences})
    (root / "coco/dataset_coco.json").write_text(json.dumps({"images": images}))
    return root


def benchmark(folder: Path, **options) -> Laion400M:
    return Laion400M(**{"image_size": 16, "batch_size": 4, "threads": 2, "data_root": str(folder), **options})


def test_every_picture_comes_once_with_its_caption(folder: Path) -> None:
    data = benchmark(folder)
    assert [(shard.first, shard.size) for shard in data.shards()] == [(0, 5), (5, 3), (8, 4)]
    orders = []
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.order.set_epoch(epoch)
        ids = []
        for raw in loader:
            batch = data.on_after_batch_transfer(raw, 0)
            assert isinstance(batch, ImageText) and batch.pixels.shape == (4, 3, 16, 16)
            assert batch.texts == [[f"picture {number}, café" for number in batch.ids.tolist()]]
            red = batch.pixels[:, 0].mean(dim=(1, 2)) * 255
            torch.testing.assert_close(red, 10.0 * batch.ids, atol=3, rtol=0)
            ids += batch.ids.tolist()
        assert sorted(ids) == list(range(12))
        orders.append(ids)
    assert orders[0] != orders[1]
    # A shard is left before the next is opened.
    shards = [sum(number >= first for first in (5, 8)) for number in orders[0]]
    assert sum(a != b for a, b in itertools.pairwise(shards)) == 2


def test_captions_are_searched_for_the_words_of_a_list(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"picture": 1, "café": 0, "cafés": 0, "tree": 2}))
    data = benchmark(folder, words=str(path))
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch.concepts is not None and batch.concepts.tolist() == [[True, True, False]] * 4
    assert told(["a%20Tree, <b class=café>+cafés+</b>", "street"], data._columns).tolist() == [
        [True, False, True],
        [False, False, False],
    ]


def test_further_views_of_pictures_and_captions(folder: Path) -> None:
    data = benchmark(folder, local_views=2, local={"crop": 0.3, "brightness": 0.4}, text_views=2)
    raw = next(iter(data.train_dataloader()))
    batch = data.on_after_batch_transfer(raw, 0)
    assert batch.local.shape == (2, 4, 3, 16, 16) and not torch.equal(*batch.local)
    assert [len(view) for view in batch.text_views] == [4, 4]
    for text, *views in zip(batch.text, *batch.text_views, strict=True):
        assert all(set(view.split()) <= set(text.split()) for view in views)
    plain = benchmark(folder).on_after_batch_transfer(raw, 0)
    assert plain.local is None and not plain.text_views and torch.equal(plain.pixels, batch.pixels)
    with pytest.raises(UserError, match=r"data\.text_views -1"):
        benchmark(folder, text_views=-1)


def test_the_captions_come_without_the_pictures(folder: Path) -> None:
    assert list(benchmark(folder).captions()) == [f"picture {number}, café" for number in range(12)]


@pytest.mark.parametrize("size", [(640, 480), (100, 1000)])
def test_a_crop_keeps_its_share_within_the_picture(size: tuple[int, int]) -> None:
    for draws in torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).tolist():
        left, top, right, bottom = random_box(size, 0.3, draws)
        assert 0 <= left < right <= size[0] + 1e-6 and 0 <= top < bottom <= size[1] + 1e-6
        if size == (640, 480):
            share, ratio = (right - left) * (bottom - top) / (640 * 480), (right - left) / (bottom - top)
            assert (share <= 1 + 1e-6 and 0.749 <= ratio <= 1.34) or right - left == 640 or bottom - top == 480
            assert share >= 0.2999 or bottom - top == 480 or right - left == 640
        assert random_box(size, 1.0, draws) == (0, 0, *size)


def test_retrieval_has_five_captions_a_picture(folder: Path) -> None:
    metrics = benchmark(folder).evaluate(ByColour(100))
    assert metrics["recall@1/gallery3"] == metrics["image_to_text/recall@1/gallery15"] == 1.0
    paths, captions = benchmark(folder).scored("val")
    assert len(paths) == 1 and len(captions[0]) == 5


def test_a_scored_picture_is_cropped_or_resized_whole(folder: Path, tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30))
    wide.paste((255, 255, 255), (0, 0, 30, 30))
    wide.save(tmp_path / "wide.png")
    means = {
        how: benchmark(folder, scored=how)._scored(tmp_path / "wide.png").double().mean()
        for how in ("cropped", "resized")
    }
    assert means["cropped"] < 10 and means["resized"] == pytest.approx(85, abs=6)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"laion400m/00000\.tar is not in .*img2dataset"):
        benchmark(tmp_path).prepare_data()
    with pytest.raises(UserError, match=r"data\.scored is 'whole'"):
        Laion400M(scored="whole")
    with pytest.raises(UserError, match=r"data\.crop is 0"):
        Laion400M(crop=0)
    with pytest.raises(UserError, match=r"data\.threads is 0"):
        Laion400M(threads=0)


def test_the_fingerprint_follows_the_files(folder: Path, tmp_path: Path) -> None:
    before = benchmark(folder).fingerprint()
    assert before == benchmark(folder, batch_size=2).fingerprint()
    path = folder / "coco/dataset_coco.json"
    content = path.read_text()
    path.write_text(content.replace("nice", "fine"))
    assert benchmark(folder).fingerprint() != before
    path.write_text(content)
