"""RO-ViT: which positions pictures have, the focal loss against a loop, boxes of larger pictures, what is refused."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from papers.vision_language.clip.module import CLIP
from papers.vision_language.ro_vit import properties
from papers.vision_language.ro_vit.module import ROViT
from papers.vision_language.ro_vit.positions import cropped, drawn_boxes, waves

TEXTS = ["a red circle", "an owl", "a green star", "a tent", "a fox"]
BOXES = torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 0.9, 0.3]], dtype=torch.double)


def module(**arguments) -> ROViT:
    torch.manual_seed(0)
    made = ROViT(**{"image_size": 8, "text_encoder": "bag_of_words", "upsampled": 8} | arguments).double().train()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def batch() -> ImageText:
    pixels = torch.rand(1, 5, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return ImageText(pixels, [TEXTS], torch.arange(5), torch.arange(5))


def read(table: Tensor, y: float, x: float) -> Tensor:
    """Between the cells of a map (h, w, d), beyond an end the end."""
    height, width = table.shape[:2]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = (1 - x + left) * table[top, left] + (x - left) * table[top, right]
    lower = (1 - x + left) * table[below, left] + (x - left) * table[below, right]
    return (1 - y + top) * upper + (y - top) * lower


@pytest.mark.parametrize(("side", "upsampled"), [(3, 8), (2, 2), (4, 13)])
def test_a_crop_is_that_of_loops(side: int, upsampled: int) -> None:
    table = torch.randn(side, side, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    ratio, cells = side / upsampled, range(upsampled)
    rows = [torch.stack([read(table, (y + 0.5) * ratio - 0.5, (x + 0.5) * ratio - 0.5) for x in cells]) for y in cells]
    finer = torch.stack(rows)
    for box, found in zip(BOXES.tolist(), cropped(table, BOXES, upsampled), strict=True):
        left, top, right, bottom = (upsampled * edge for edge in box)
        for k, vector in enumerate(found):
            y, x = ((k // side + 0.5) / side, (k % side + 0.5) / side)
            torch.testing.assert_close(vector, read(finer, top + y * (bottom - top), left + x * (right - left)))


def test_a_crop_passes_its_gradient_on() -> None:
    table = torch.randn(3, 3, 2, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(lambda x: cropped(x, BOXES, 7), table)


def test_boxes_have_the_areas_and_ratios_that_are_asked_for() -> None:
    u = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    boxes = drawn_boxes(u, 0.1, 2.0)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    assert float(boxes.min()) >= 0 and float(boxes.max()) <= 1
    inside = (width < 1) & (height < 1)
    assert float((width * height).min()) >= 0.1 / 1.001
    assert 0.5 <= float((width / height)[inside].min()) < 0.55 and 1.8 < float((width / height)[inside].max()) <= 2.0
    torch.testing.assert_close((width * height)[inside], (0.1 + 0.9 * u[:, 0])[inside])
    whole = drawn_boxes(u, 1.0, 1.0)
    torch.testing.assert_close(whole, torch.tensor([0.0, 0.0, 1.0, 1.0]).double().expand(4000, 4))


def focal_loop(image: Tensor, text: Tensor, scale: float, gamma: float, alpha: float) -> float:
    total = 0.0
    for i, row in enumerate((scale * image @ text.T).tolist()):
        for j, z in enumerate(row):
            p = 1 / (1 + math.exp(-z if i == j else z))
            total += 2 * (alpha if i == j else 1 - alpha) * (1 - p) ** gamma * -math.log(p)
    return total / len(image)


@pytest.mark.parametrize(("gamma", "alpha"), [(1.0, 0.5), (2.0, 0.25), (0.0, 0.5)])
def test_the_step_is_the_focal_loss_of_pictures_with_cropped_positions(gamma: float, alpha: float) -> None:
    method, given = module(gamma=gamma, alpha=alpha, temperature=0.2), batch()
    boxes: list[Tensor] = []
    placed = method.placed
    method.placed = lambda inputs: boxes.append(inputs[1]) or placed(inputs)
    loss = method.training_step(given, 0)
    (drawn,) = boxes
    assert drawn.shape == (5, 4) and len(drawn.unique(dim=0)) == 5
    tower = method.encoder.image
    states = torch.stack(
        [
            tower.patches(pixels[None], cropped(method.grid, box[None].double(), 8))[0].mean(dim=0)
            for pixels, box in zip(given.pixels, drawn, strict=True)
        ]
    )
    image = F.normalize(method.encoder.projection(states), dim=1).detach()
    text = method.encoder.texts(TEXTS).detach()
    assert loss.item() == pytest.approx(focal_loop(image, text, 5.0, gamma, alpha), rel=1e-6)


def test_the_arms_differ_by_the_positions_alone() -> None:
    given, losses = batch(), {}
    for positions in ("cropped", "shuffled", "whole", "fixed", "none"):
        method = module(positions=positions, gamma=None)
        losses[positions] = method.training_step(given, 0)
        losses[positions].backward()
        learnt = method.encoder.image.positions
        assert learnt.requires_grad == (positions in ("cropped", "shuffled", "whole"))
        assert (learnt.grad is not None and bool(learnt.grad.any())) == learnt.requires_grad
        if positions == "none":
            assert not learnt.any()
    assert len({round(loss.item(), 9) for loss in losses.values()}) == 5
    torch.manual_seed(0)
    clip = CLIP(image_encoder="vit_small_mean", image_size=8, text_encoder="bag_of_words").double()
    clip.log_loss = lambda loss, **terms: loss
    torch.testing.assert_close(losses["whole"], clip.training_step(given, 0))


def test_shuffled_positions_are_those_of_the_crop_in_another_order() -> None:
    method = module(positions="shuffled")
    seen: list[Tensor] = []
    method.encoder.image.forward = lambda pixels, positions: seen.append(positions) or positions.mean(dim=1)
    order = torch.tensor([[2, 0, 3, 1]]).expand(3, -1)
    method.placed((batch().pixels[:3], BOXES, order))
    torch.testing.assert_close(seen[0], cropped(method.grid, BOXES, 8)[:, [2, 0, 3, 1]])


def test_chunks_have_the_same_gradient() -> None:
    slopes = []
    for size in (None, 2):
        method = module(chunk_size=size)
        method.training_step(batch(), 0).backward()
        slopes.append(method.encoder.image.positions.grad)
    torch.testing.assert_close(*slopes)


def test_a_region_is_the_mean_of_its_patches_in_a_window_under_the_enlarged_embedding() -> None:
    method = module().float().eval()
    pixels = torch.randint(256, (2, 3, 16, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = method.embed_regions(pixels, torch.tensor([[4, 8, 8, 16], [0, 0, 12, 16]]), torch.tensor([1, 0]))
    wide = F.interpolate(method.grid.permute(2, 0, 1)[None], size=(4, 3), mode="bilinear")[0].flatten(1).T
    tower = method.encoder.image
    patches = (tower.embedded(pixels.float() / 255) + wide).unflatten(1, (4, 3))
    # Of the first box, columns 0 and 1 of rows 2 and 3; the second is larger than what is looked at, rows 1 and 2.
    first, second = (tower.mixed(x.reshape(1, 4, -1))[0] for x in (patches[1, 2:, :2], patches[0, 1:3, :2]))
    means = torch.stack([first[1::2].mean(dim=0), second.mean(dim=0)])
    torch.testing.assert_close(found, F.normalize(method.encoder.projection(means), dim=1), rtol=1e-5, atol=1e-5)
    small = pixels[:, :, :8, :8]
    whole = method.embed_regions(small, torch.tensor([[0, 0, 8, 8]]), torch.tensor([1]))
    torch.testing.assert_close(whole[0], method.embed_image(small)[1], rtol=1e-5, atol=1e-5)


def test_waves_tell_each_patch_from_all_others() -> None:
    table = waves(4, 16)
    assert table.shape == (16, 16) and len(table.unique(dim=0)) == 16
    torch.testing.assert_close(table.norm(dim=1), torch.full((16,), 8**0.5))


def test_the_properties_hold() -> None:
    assert properties.constant(0) < 1e-12 and properties.window(0) < 1e-12
    assert properties.sigmoid(0) < 1e-12 and properties.both_ways(0) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": "random"}, r"model\.positions"),
        ({"area": 0.0}, r"model\.area"),
        ({"aspect": 0.5}, r"model\.aspect"),
        ({"alpha": 1.5}, r"model\.alpha"),
        ({"gamma": -1.0}, r"model\.gamma"),
        ({"start": 0.0}, r"model\.start"),
        ({"upsampled": 1}, r"model\.upsampled is 1; it must be at least 2"),
        ({"image_encoder": "vit_mini"}, r"model\.image_encoder is 'vit_mini'; it must be vit_small_mean"),
        ({"label_smoothing": 0.1}, r"model\.label_smoothing is 0\.1"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)
