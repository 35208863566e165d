"""Objects by their boxes: what stands in them, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from data.benchmarks.worlds.object_boxes import ObjectBoxes
from data.scenes.pictures import read_pictures, scenes_of
from data.scenes.single import windows
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
    with pytest.raises(UserError, match="window is 49"):
        ObjectBoxes(window=49)


def test_windows_show_the_objects_in_the_scale_of_the_scenes(benchmark: ObjectBoxes) -> None:
    cut = ObjectBoxes(enlarged=1, window=24)
    cut.setup()
    assert cut.fingerprint() != benchmark.fingerprint()
    for split in ("val", "test"):
        ours, theirs = cut.splits[split], benchmark.splits[split]
        assert ours.texts == theirs.texts and torch.equal(ours.ids, theirs.ids)
        assert ours.pixels.shape == (*theirs.pixels.shape[:2], 24, 24)
    # A window is a part of its picture, pixel by pixel.
    whole, part = benchmark.splits["val"].pixels[:20], cut.splits["val"].pixels[:20]
    places = whole.unfold(2, 24, 1).unfold(3, 24, 1)
    assert (places == part[:, :, None, None]).all(dim=(1, 4, 5)).any(dim=(1, 2)).all()


def test_a_window_holds_the_box_or_lies_in_it() -> None:
    pixels = torch.arange(48).expand(1, 48, 48) + 100 * torch.arange(48)[:, None]
    boxes = torch.tensor([[10, 20, 20, 30], [0, 0, 6, 12], [2, 40, 40, 48]])
    left, top, right, bottom = boxes.unbind(1)
    corners = []
    for draws in ([0.0, 0.0], [0.4, 0.7], [0.999, 0.999]):
        found = windows(pixels.expand(3, 1, 48, 48), boxes, torch.tensor([draws] * 3), 24)
        assert found.shape == (3, 1, 24, 24)
        x, y = found[:, 0, 0, 0] % 100, found[:, 0, 0, 0] // 100
        assert torch.equal(found[:, 0, -1, -1], found[:, 0, 0, 0] + 23 * 101)
        inside = (x <= left) & (right <= x + 24) & (y <= top) & (bottom <= y + 24)
        assert inside.tolist() == [True, True, False]
        assert left[2] <= x[2] and x[2] + 24 <= right[2] and y[2] == 24
        corners.append((x.tolist(), y.tolist()))
    assert corners[0] == ([0, 0, 2], [6, 0, 24]) and corners[-1] == ([10, 0, 16], [20, 0, 24])
