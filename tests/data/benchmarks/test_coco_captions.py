"""MS COCO in small, laid out like the real one."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.errors import UserError
from data.benchmarks.published.coco_captions import CocoCaptions
from tests.data.benchmarks.by_colour import ByColour


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    for part, numbers in (("train", range(4)), ("val", range(10, 22))):
        (tmp_path / f"{part}2017").mkdir()
        for k in numbers:
            Image.new("RGB", (40, 30), (10 * k, 0, 0)).save(tmp_path / f"{part}2017/{k:012}.jpg", quality=100)
        images = [{"id": k, "file_name": f"{k:012}.jpg"} for k in numbers]
        told = [{"image_id": k, "caption": f" {which} {10 * k}. "} for which in ("First,", "Second:") for k in numbers]
        content = {"images": images, "annotations": told}
        (tmp_path / f"annotations/captions_{part}2017.json").write_text(json.dumps(content))
    return tmp_path


def benchmark(folder: Path, **options) -> CocoCaptions:
    return CocoCaptions(**{"image_size": 16, "batch_size": 4, "threads": 2, "data_root": str(folder)} | options)


@pytest.mark.parametrize(("caption", "word"), [(1, "Second:"), (0, "First,")])
def test_each_picture_has_its_one_caption(folder: Path, caption: int, word: str) -> None:
    data = benchmark(folder, caption=caption)
    (batch,) = [data.on_after_batch_transfer(raw, 0) for raw in data.train_dataloader()]
    assert batch.views.shape == (1, 4, 3, 16, 16) and batch.text_ids.unique().tolist() == [0, 1, 2, 3]
    assert dict(zip(batch.ids.tolist(), batch.text, strict=True)) == {k: f"{word} {10 * k}." for k in range(4)}
    torch.testing.assert_close(batch.pixels[:, 0].mean((1, 2)) * 255, 10.0 * batch.ids, atol=2, rtol=0)
    pixels, texts, ids = data.scored("test")
    assert pixels.shape == (12, 3, 16, 16) and texts == [f"{word} {10 * k}." for k in range(10, 22)]
    assert ids.tolist() == list(range(12)) and data.scored("val")[1] == texts


def test_retrieval_is_scored(folder: Path) -> None:
    metrics = benchmark(folder).evaluate(ByColour(200.0), "val")
    assert metrics["recall@1/gallery12"] > 0.9


def test_too_few_captions_are_named(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"captions_train2017.json: 000000000000.jpg has 2 captions; data.caption 2 needs"
    ):
        benchmark(folder, caption=2).rows()
    with pytest.raises(UserError, match=r"data.caption is -1; it must be at least 0"):
        benchmark(folder, caption=-1)
