"""Objects by their boxes: what stands in them, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from data.benchmarks.worlds.object_boxes import ObjectBoxes
from data.scenes.pictures import read_pictures, scenes_of
from data.scenes.single import cut_out
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


@pytest.fixture(scope="module")
def benchmark(fetched) -> ObjectBoxes:
    fetched(TUXPAINT_STAMPS)
    benchmark = ObjectBoxes()
    benchmark.setup()
    return benchmark


class Told(nn.Module):
    """Is told what each box shows, in the order in which it is asked; and sees how large pictures are."""

    def __init__(self, benchmark: ObjectBoxes, split: str, wrong: int = 0) -> None:
        super().__init__()
        self.said, self.names = benchmark.boxes(split)[2].clone(), benchmark.phrases()
        self.said[:wrong] = (self.said[:wrong] + 1) % len(self.names)
        self.asked, self.sizes = 0, set()

    def embed_regions(self, pixels: Tensor, boxes: Tensor, rows: Tensor) -> Tensor:
        assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.max() <= pixels.shape[-1] and rows.max() < len(pixels)
        self.sizes.add(tuple(pixels.shape[1:]))
        said = self.said[self.asked : self.asked + len(boxes)]
        self.asked += len(boxes)
        return uniform(said, 64, 1) - 0.5

    def embed_text(self, texts: list[str]) -> Tensor:
        return uniform(torch.tensor([self.names.index(text) for text in texts]), 64, 1) - 0.5


def test_boxes_are_around_what_the_phrases_say(benchmark: ObjectBoxes) -> None:
    names = benchmark.phrases()
    assert len(set(names)) == 96 and "a red circle" in names and "an owl" in names
    boxes, rows, said = benchmark.boxes("val")
    scenes = scenes_of()["val"]
    assert len(rows) > 0.99 * sum(len(placed.scene) for placed in scenes) and (rows.diff() >= 0).all()
    colour = {"red": 0, "green": 1, "blue": 2}
    # Pixels of a box are of the colour that its phrase names.
    pixels = read_pictures("val").float()
    for name, channel in colour.items():
        of_square = [i for i, k in enumerate(said.tolist()) if names[k] == f"a {name} square"]
        means = []
        for i in of_square:
            left, top, right, bottom = (boxes[i] // benchmark.enlarged).tolist()
            means.append(pixels[rows[i], :, top:bottom, left:right].mean(dim=(1, 2)))
        mean = torch.stack(means).mean(0)
        assert mean.argmax() == channel


def test_scores(benchmark: ObjectBoxes) -> None:
    module = Told(benchmark, "val")
    found = benchmark.evaluate(module, "val")
    assert found == {"boxes/mrr/gallery96": 1, "boxes/recall@1/gallery96": 1}
    assert module.sizes == {(3, 96, 96)} and len(found["boxes/mrr/gallery96"].items) == 1000
    half = benchmark.evaluate(Told(benchmark, "val", wrong=len(module.said) // 2), "val")
    assert half["boxes/recall@1/gallery96"] == pytest.approx(0.5, abs=0.01)
    chance = benchmark.floor()["chance"]
    assert 0.05 < chance["boxes/mrr/gallery96"] < 0.06
    with pytest.raises(UserError, match="embed_regions"):
        benchmark.evaluate(nn.Identity())
    with pytest.raises(UserError, match="enlarged"):
        ObjectBoxes(enlarged=0)
    with pytest.raises(UserError, match=r"cut_out is -0\.1"):
        ObjectBoxes(cut_out=-0.1)


def test_cut_outs_show_the_object_in_the_size_that_it_has_in_the_enlarged_scenes(benchmark: ObjectBoxes) -> None:
    cut = ObjectBoxes(enlarged=3, cut_out=0.15)
    cut.setup()
    assert cut.fingerprint() != benchmark.fingerprint()
    for split in ("val", "test"):
        ours, theirs = cut.splits[split], benchmark.splits[split]
        assert ours.texts == theirs.texts and torch.equal(ours.ids, theirs.ids)
        assert ours.pixels.shape == theirs.pixels.shape and not torch.equal(ours.pixels, theirs.pixels)
    # Longer sides fill 48 / 1.3 pixels of a cut-out; those of the boxes are about as long.
    left, top, right, bottom = cut.boxes("val")[0].unbind(1)
    longer = torch.maximum(right - left, bottom - top).double().mean()
    assert 0.8 < longer / (48 / 1.3) < 1.6


def test_a_cut_out_is_the_box_with_its_margin() -> None:
    pixels = torch.zeros(2, 3, 48, 48, dtype=torch.uint8)
    boxes = torch.tensor([[10, 20, 20, 30], [0, 0, 6, 12]])
    for row, (left, top, right, bottom) in enumerate(boxes.tolist()):
        pixels[row, :, top:bottom, left:right] = 200
    found = cut_out(pixels, boxes, 0.15)
    assert found.shape == pixels.shape and found.dtype == torch.uint8
    # 10 of 13 pixels each way; of the other all 12 of 15.6 down, and beyond the edge on the left it goes on as it is.
    assert float((found[0] > 100).double().mean()) == pytest.approx((10 / 13) ** 2, abs=0.04)
    assert float((found[1, 0] > 100).double().mean(dim=1).max()) == pytest.approx(0.5 + 3 / 15.6, abs=0.04)
