"""CCRK's translated captions and IGLUE's lists in small, laid out like the real ones."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.batches import ImageText
from common.errors import UserError
from data.benchmarks.published.multilingual_lists import MultilingualLists
from tests.data.benchmarks.by_colour import ByColour

PLAIN = {"crop": 1.0, "flip": 0.0, "operations": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    for place in ("images/cc3m", "images/flickr30k-images", "images/val2014", "cc3m", "xFlickrCO/de", "xFlickrCO/en"):
        (root / place).mkdir(parents=True)
    for k in range(6):
        picture = Image.new("RGB", (20, 30), (40 * k, 0, 0))
        for place in (f"cc3m/{k}", f"flickr30k-images/{k}", f"val2014/COCO_{k}"):
            picture.save(root / f"images/{place}.png")
    lines = [
        {"image_path": f"cc3m/{k}.png", "caption": {one: f"{one.upper()}: {40 * k}" for one in ("en", "de", "fr")}}
        for k in range(4)
    ]
    for part in (0, 1):
        said = "".join(json.dumps(line) + "\n" for line in lines[2 * part : 2 * part + 2])
        (root / f"cc3m/part_{part}.data").write_text(said)
    for language in ("en", "de"):
        rows = [
            {"img_path": f"{'COCO_' * (k % 2)}{k}.png", "id": f"{k}", "sentences": [f"{language} {40 * k}"]}
            for k in range(6)
        ]
        (root / f"xFlickrCO/{language}/test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def benchmark(folder: Path, **options) -> MultilingualLists:
    lists = {"training": ("cc3m",), "scored": ("xFlickrCO/{language}/test.jsonl",) * 2, "pictures": "images"}
    languages = {"languages": ("de", "en", "fr"), "scored_languages": ("en", "de")}
    sizes = {"image_size": 8, "batch_size": 4, "threads": 2}
    return MultilingualLists(**lists | languages | sizes | {"data_root": str(folder)} | options)


def batch_of(data: MultilingualLists) -> ImageText:
    (batch,) = (data.on_after_batch_transfer(raw, 0) for raw in data.train_dataloader())
    return batch


def test_each_picture_comes_with_its_captions_in_all_languages(folder: Path) -> None:
    batch = batch_of(benchmark(folder, **PLAIN))
    assert sorted(batch.ids.tolist()) == [0, 1, 2, 3] and len(batch.texts) == 3
    for language, texts in zip(("de", "en", "fr"), batch.texts, strict=True):
        assert texts == [f"{language} {40 * k}" for k in batch.ids.tolist()]
    torch.testing.assert_close(batch.pixels[:, 0].mean((1, 2)) * 255, 40.0 * batch.ids, atol=1, rtol=0)


def test_or_in_one_that_is_drawn(folder: Path) -> None:
    batch = batch_of(benchmark(folder, pairing="one", **PLAIN))
    (texts,) = batch.texts
    assert [text.split()[1] for text in texts] == [str(40 * k) for k in batch.ids.tolist()]
    assert len({text.split()[0] for text in texts}) > 1


def test_each_language_is_scored_by_itself_and_beside_the_others(folder: Path) -> None:
    data = benchmark(folder)
    metrics = data.evaluate(ByColour(200))
    assert metrics["recall@1/gallery6"] == metrics["recall@1/gallery6_de"] == metrics["languages/mrr/gallery6"] == 1.0
    assert metrics["languages/log2_rank_variance/gallery6"] == 0.0
    assert data.fingerprint() == benchmark(folder, pairing="one").fingerprint()


def test_what_is_missing_or_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cc3m is not in .*BUAADreamer/CCRK"):
        benchmark(tmp_path).prepare_data()
    with pytest.raises(UserError, match=r"data\.languages holds 'ja', which row 0 \(cc3m/0\.png\) lacks"):
        benchmark(folder, languages=("en", "ja")).rows()
    with pytest.raises(UserError, match=r"data\.pairing is 'two'"):
        benchmark(folder, pairing="two")
    with pytest.raises(UserError, match="must hold at least one each"):
        benchmark(folder, languages=())
    (folder / "xFlickrCO/fr").mkdir()
    turned = (folder / "xFlickrCO/de/test.jsonl").read_text().splitlines()[::-1]
    (folder / "xFlickrCO/fr/test.jsonl").write_text("\n".join(turned))
    with pytest.raises(UserError, match="its pictures are not those of 'en'"):
        benchmark(folder, scored_languages=("en", "fr")).evaluate(ByColour(200))
    (tmp_path / "cc3m").mkdir()
    (tmp_path / "cc3m/part_0.data").write_text('{"image_path": "0.png"}\n')
    (tmp_path / "xFlickrCO").symlink_to(folder / "xFlickrCO")
    with pytest.raises(UserError, match=r"part_0\.data:1: no picture with captions"):
        benchmark(tmp_path).rows()
