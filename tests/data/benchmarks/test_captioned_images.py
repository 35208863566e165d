"""Own pictures with captions: one caption of a picture a batch, and all of them right when it is scored."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.batches import ImageText
from data.benchmarks.own import captioned_images
from tests.data.benchmarks.by_colour import ByColour


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        Image.new("RGB", (20, 12), (10 * i, 0, 0)).save(f"{i}.png")


def benchmark(each: int = 3, shift: int = 0, **options) -> captioned_images.ImageText:
    """Picture i has the captions "k times 10 i" for each k."""
    with Path("captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "pair"])
        for k in range(each):
            rows.writerows([f"{i}.png", f"{k} times {10 * i}", f"p{(i + shift) // 2}"] for i in range(20))
    return captioned_images.ImageText(**{"path": "captions.csv", "batch_size": 5, "side": 8} | options)


def epochs(data: captioned_images.ImageText, count: int) -> list[ImageText]:
    found, loader = [], data.train_dataloader()
    for epoch in range(count):
        loader.order.set_epoch(epoch)
        found += [data.on_after_batch_transfer(raw, 0) for raw in loader]
    return found


def test_a_batch_never_holds_two_captions_of_a_picture() -> None:
    data, said = benchmark(), set()
    assert data.sizes() == {"train": 42, "val": 6, "test": 12}
    for batch in epochs(data, 6):
        assert len(batch.text_ids.unique()) == 5 and batch.views.shape == (1, 5, 3, 8, 8)
        numbers = [int(text.split()[-1]) for text in batch.text]
        assert torch.equal((batch.pixels[:, 0].mean(dim=(1, 2)) * 255).round().long(), torch.tensor(numbers))
        assert torch.equal(batch.text_ids, torch.tensor(numbers) // 10)
        said |= set(batch.text)
    assert len(said) > 14, "other captions come in other epochs"


def test_pair_ids_say_what_belongs_together() -> None:
    data = benchmark(pair_id="pair")
    for batch in epochs(data, 4):
        assert len({int(text.split()[-1]) // 20 for text in batch.text}) == 5
    splits = [{int(g) for g in part.groups} for part in data.splits.values()]
    assert sum(map(len, splits)) == len(set().union(*splits)) == 10
    gallery = data.gallery("test")
    assert len(gallery.pictures) == 4 and len(gallery.captions) == 12
    assert len(gallery.pairs) == 4 * 6, "both pictures of a pair fit all its captions"


def test_all_captions_of_a_picture_are_right() -> None:
    data = benchmark()
    metrics = data.evaluate(ByColour(200))
    assert metrics["recall@1/gallery4"] == metrics["image_to_text/mrr/gallery12"] == 1.0
    chance = data.floor()["chance"]
    assert chance["text_to_image/recall@1/gallery4"] == pytest.approx(1 / 4)
    assert chance["image_to_text/recall@1/gallery12"] == pytest.approx(3 / 12)
    assert data.primary in chance and data.primary == "mrr/gallery4"


def test_a_caption_of_two_pictures_is_right_for_both() -> None:
    benchmark(each=1)
    text = Path("captions.csv").read_text()
    Path("captions.csv").write_text("".join(line.replace("times 10,", "times 0,") for line in text.splitlines(True)))
    data = captioned_images.ImageText(path="captions.csv", batch_size=2, side=8, test_path="captions.csv")
    gallery = data.part("test") and data.gallery("test")
    assert len(gallery.pictures) == 20 and len(gallery.captions) == 19 and len(gallery.pairs) == 20
    metrics = data.evaluate(ByColour(200))
    # Picture 1 finds the caption that it shares on its second place, behind that of picture 2, which is as near.
    assert metrics["text_to_image/mrr/gallery20"] == 1.0 and metrics["image_to_text/mrr/gallery19"] == (19 + 1 / 2) / 20


def test_lists_of_captions_and_pictures_as_bytes(tmp_path: Path) -> None:
    from datasets import Dataset
    from datasets import Image as Pictures

    rows = {
        "picture": [{"bytes": Path(f"{i}.png").read_bytes(), "path": None} for i in range(20)],
        "said": [[f"one {10 * i}", f"two {10 * i}"] for i in range(20)],
    }
    table = Dataset.from_dict(rows).cast_column("picture", Pictures())
    table.to_parquet("own.parquet")
    table.save_to_disk("saved")
    for path in ("own.parquet", "saved"):
        data = captioned_images.ImageText(path=path, image="picture", caption="said", batch_size=5, side=8)
        assert data.sizes() == {"train": 14, "val": 2, "test": 4}
        assert {text.split()[0] for batch in epochs(data, 4) for text in batch.text} == {"one", "two"}
        assert data.evaluate(ByColour(200))["recall@1/gallery4"] == 1.0
        found = data.embeddable("test")
        assert found["image"].items[:2].shape == (2, 3, 8, 8) and len(found["text"].items) == 8
        assert found["text"].ids[0].startswith(path) and len(found["image"].ids) == 4
