"""ALBEF's lists in small, laid out like the real ones."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from common.batches import ImageText
from common.errors import UserError
from data.benchmarks.published.caption_lists import CaptionLists
from tests.data.benchmarks.by_colour import ByColour

PLAIN = {"crop": 1.0, "flip": 0.0, "operations": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    (root / "pictures").mkdir()
    for k in range(12):
        picture = Image.new("RGB", (40, 30), (20 * k, 0, 0))
        picture.paste((20 * k, 255, 0), (20, 0, 40, 30))  # green on the right
        picture.save(root / f"pictures/{k}.png")
    rows = [{"image": f"{k}.png", "caption": f"Red-ness: {20 * k}"} for k in range(3)]
    rows[1]["caption"] = [f"one, {20}", f"other <person> {20}"]
    rows[2]["image"] = str(root / "pictures/2.png")
    (root / "cc3m_train.json").write_text(json.dumps(rows[:2]))
    (root / "sbu.json").write_text(json.dumps(rows[2:]))
    tuned = [{"image": f"{k // 2}.png", "caption": f"{20 * (k // 2)}", "image_id": f"coco_{k // 2}"} for k in range(6)]
    (root / "coco_train.json").write_text(json.dumps(tuned))
    for split, numbers in (("val", range(2)), ("test", range(12))):
        scored = [{"image": f"{k}.png", "caption": [f"{'nice ' * n}{20 * k}." for n in range(5)]} for k in numbers]
        (root / f"coco_{split}.json").write_text(json.dumps(scored))
    return root


def benchmark(folder: Path, **options) -> CaptionLists:
    given = {"training": ("cc3m_train.json", "sbu.json"), "scored": ("coco_val.json", "coco_test.json")}
    given |= {"pictures": "pictures", "image_size": 16, "batch_size": 3, "threads": 2, "shortlist": 10}
    return CaptionLists(**given | {"data_root": str(folder)} | options)


def batches(data: CaptionLists, epoch: int) -> list[ImageText]:
    loader = data.train_dataloader()
    loader.order.set_epoch(epoch)
    return [data.on_after_batch_transfer(raw, 0) for raw in loader]


def test_rows_of_all_lists_come_with_one_of_their_captions(folder: Path) -> None:
    data, said = benchmark(folder, **PLAIN), set()
    for epoch in range(6):
        (batch,) = batches(data, epoch)
        assert batch.views.shape == (1, 3, 3, 16, 16) and sorted(batch.ids.tolist()) == [0, 1, 2]
        assert torch.equal(batch.ids, batch.text_ids)
        torch.testing.assert_close(batch.pixels[:, 0].mean((1, 2)) * 255, 20.0 * batch.ids, atol=1, rtol=0)
        assert (batch.pixels[:, 1, :, -4:] > 0.9).all() and (batch.pixels[:, 1, :, :4] < 0.1).all()
        texts = dict(zip(batch.ids.tolist(), batch.text, strict=True))
        assert texts[0] == "red ness 0" and texts[2] == "red ness 40"
        said.add(texts[1])
    assert said == {"one 20", "other person 20"}


def test_augmentation_belongs_to_the_sample_and_the_epoch(folder: Path) -> None:
    first, again, later = (batches(benchmark(folder), epoch)[0] for epoch in (0, 0, 1))
    assert torch.equal(first.pixels, again.pixels)
    order = [(batch.ids == 2).nonzero().item() for batch in (first, later)]
    assert not torch.equal(first.pixels[order[0]], later.pixels[order[1]])
    flipped = batches(benchmark(folder, **PLAIN | {"flip": 1.0}), 0)[0]
    assert (flipped.pixels[:, 1, :, :4] > 0.9).all()


def test_a_second_view_is_another_and_leaves_the_first_alone(folder: Path) -> None:
    (alone,), (both,) = batches(benchmark(folder), 2), batches(benchmark(folder, views=2), 2)
    assert both.views.shape == (2, 3, 3, 16, 16) and both.text == alone.text
    assert torch.equal(both.pixels, alone.pixels) and not torch.equal(*both.views)
    with pytest.raises(UserError, match=r"data\.views is 0; it must be at least 1"):
        benchmark(folder, views=0)


def test_colours_change_in_each_view_by_themselves_and_nothing_moves(folder: Path) -> None:
    options = {"views": 2, "colours": {"brightness": 0.5}, **PLAIN}
    (plain,), (found,) = batches(benchmark(folder, views=2, **PLAIN), 0), batches(benchmark(folder, **options), 0)
    assert torch.equal(*plain.views) and not torch.equal(*found.views)
    assert torch.equal(found.views > 0, plain.views > 0)
    with pytest.raises(UserError, match=r"data\.colours move the picture"):
        benchmark(folder, colours={"crop": 0.5})


def test_captions_of_one_picture_are_positives_of_each_other(folder: Path) -> None:
    data = benchmark(folder, training=("coco_train.json",), batch_size=6, **PLAIN)
    (batch,) = batches(data, 0)
    assert sorted(batch.ids.tolist()) == list(range(6))
    assert torch.equal(batch.text_ids, batch.ids // 2 * 2)


class MatchingByColour(ByColour):
    """Prefers the caption with no adjective when it matches."""

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        image, text = self.embed_image(pixels), self.embed_text(texts)
        return -(image[pairs[:, 0]] * text[pairs[:, 1]]).sum(1)


def test_retrieval_has_all_captions_and_a_shortlist(folder: Path) -> None:
    metrics = benchmark(folder).evaluate(MatchingByColour(200))
    assert metrics["recall@1/gallery12"] == metrics["image_to_text/recall@1/gallery60"] == 1.0
    # Matching here prefers what is least alike within the shortlist of ten, which the cosine has made.
    assert metrics["text_to_image/reranked10_recall@1/gallery12"] == 0.0
    assert metrics["text_to_image/reranked10_recall@10/gallery12"] == 1.0
    pixels, texts, owners = benchmark(folder).scored("val")
    assert pixels.shape == (2, 3, 16, 16) and texts[6] == "nice 20" and owners.tolist() == [0] * 5 + [1] * 5


def test_captions_are_cut(folder: Path) -> None:
    assert benchmark(folder, words=3).clean("A dog/cat, (or not)\n  at   all") == "a dog cat"


def test_what_is_missing_or_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cc3m_train\.json is not in .*salesforce/ALBEF"):
        benchmark(tmp_path).prepare_data()
    with pytest.raises(UserError, match=r"data\.crop and data\.flip are 0 and 0\.5"):
        CaptionLists(crop=0)
    with pytest.raises(UserError, match=r"data\.words is 0"):
        CaptionLists(words=0)
    with pytest.raises(UserError, match=r"data\.training must name a list"):
        CaptionLists(training=())
    assert benchmark(folder).fingerprint() != benchmark(folder, training=("sbu.json",)).fingerprint()
