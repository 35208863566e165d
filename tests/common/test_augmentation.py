"""Batched augmentation: each operation against a plain formula, and samples that do not depend on their batch."""

import math

import pytest
import torch
from PIL import Image, ImageEnhance

from common.augmentation import Crops, ImageAugmentation, panned, turned
from common.errors import UserError

EVERYTHING = dict(
    crop=0.3, flip=0.5, rotation=20.0, translation=0.1, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
    jitter=0.8, grayscale=0.2, blur=0.5, erase=0.5,
)  # fmt: skip


@pytest.fixture
def pixels() -> torch.Tensor:
    # Smooth pictures: a comparison should not hang on how noise is interpolated.
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 3, 6, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)


IDS = torch.arange(100, 116)


def test_nothing_switched_on_changes_nothing(pixels: torch.Tensor) -> None:
    assert torch.equal(ImageAugmentation()(pixels, IDS, 0), pixels)


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_operation_changes_pictures_and_stays_in_range(name: str, pixels: torch.Tensor) -> None:
    if name == "jitter":
        pytest.skip("it gates the others")
    changed = ImageAugmentation(**{name: EVERYTHING[name]})(pixels, IDS, 0)
    assert changed.shape == pixels.shape
    assert (changed - pixels).abs().max() > 0.05
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_a_sample_does_not_depend_on_its_batch(pixels: torch.Tensor) -> None:
    augment = ImageAugmentation(**EVERYTHING)
    whole = augment(pixels, IDS, 3, 1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(augment(pixels[order], IDS[order], 3, 1), whole[order], atol=1e-6)
    halves = [augment(pixels[part], IDS[part], 3, 1) for part in (slice(0, 5), slice(5, 16))]
    assert torch.allclose(torch.cat(halves), whole, atol=1e-6)


def test_key_and_id_change_the_sample(pixels: torch.Tensor) -> None:
    augment = ImageAugmentation(crop=0.3)
    same = pixels[:1].expand(16, -1, -1, -1)
    base = augment(same, IDS, 3, 1)
    assert not torch.allclose(base, augment(same, IDS, 3, 2))
    assert not torch.allclose(base[0], base[1])


def test_switching_one_operation_on_leaves_the_others(pixels: torch.Tensor) -> None:
    cropped = ImageAugmentation(crop=0.3)(pixels, IDS, 0)
    both = ImageAugmentation(crop=0.3, brightness=0.4)(pixels, IDS, 0)
    only = ImageAugmentation(brightness=0.4)(cropped, IDS, 0)
    assert torch.allclose(both, only, atol=1e-6)


def test_flip_mirrors_its_share(pixels: torch.Tensor) -> None:
    assert torch.allclose(ImageAugmentation(flip=1.0)(pixels, IDS, 0), pixels.flip(3), atol=1e-5)
    many, ids = pixels[:1].expand(2000, -1, -1, -1), torch.arange(2000)
    flipped = ImageAugmentation(flip=0.3)(many, ids, 0)
    share = (flipped - pixels[:1].flip(3)).abs().amax(dim=(1, 2, 3)).lt(1e-4).float().mean()
    assert abs(float(share) - 0.3) < 0.04


def test_rotation_agrees_with_pillow_at_some_angle(pixels: torch.Tensor) -> None:
    turned = ImageAugmentation(rotation=30.0)(pixels, IDS, 0)
    for before, after in zip(pixels[:4, 0], turned[:4, 0], strict=True):
        image = Image.fromarray((before * 255).byte().numpy())
        gaps = []
        for angle in torch.arange(-30, 30.5, 0.5).tolist():
            raw = image.rotate(angle, Image.Resampling.BILINEAR).tobytes()
            other = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
            gaps.append(float((other.view(32, 32) / 255 - after)[8:24, 8:24].abs().mean()))
        assert min(gaps) < 0.01


def test_rotation_of_a_wide_picture_is_rigid() -> None:
    """A disc stays a disc of the same area; a map that forgot the aspect ratio would shear it."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(96.0), indexing="ij")
    disc = (((x - 47.5) ** 2 + (y - 15.5) ** 2) < 10**2).float().expand(16, 1, 32, 96)
    turned = ImageAugmentation(rotation=180.0)(disc, IDS, 0)
    assert (turned - disc).abs().mean(dim=(1, 2, 3)).max() < 0.02


def test_crop_keeps_at_least_its_share() -> None:
    """The picture holds its own coordinates, so the corners of a crop tell its box."""
    side, n = 64, 2000
    ramp = (torch.arange(side) + 0.5) / side
    picture = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side)])
    out = ImageAugmentation(crop=0.25)(picture.expand(n, -1, -1, -1), torch.arange(n), 0)
    width = (out[:, 0, 32, -2] - out[:, 0, 32, 1]) * side / (side - 3)
    height = (out[:, 1, -2, 32] - out[:, 1, 1, 32]) * side / (side - 3)
    assert width.min() > 0
    area, aspect = width * height, width / height
    assert area.min() > 0.25 * 0.95
    assert area.max() <= 1.01
    assert 0.6 < area.mean() < 0.65  # uniform over [0.25, 1]: 0.625 but for the boxes that are cut down
    assert aspect.min() > 3 / 4 - 0.02
    assert aspect.max() < 4 / 3 + 0.02
    left = out[:, 0, 32, 0] - width / side / 2
    assert left.min() > -0.02
    assert (left + width).max() < 1.02


def test_translation_moves_by_at_most_its_share() -> None:
    dot = torch.zeros(500, 1, 40, 40)
    dot[:, :, 20, 20] = 1
    moved = ImageAugmentation(translation=0.2)(dot, torch.arange(500), 0)
    where = (moved.flatten(1).argmax(1) % 40).float() - 20
    assert where.abs().max() <= 8 + 1
    assert where.abs().max() >= 6


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_jitter_agrees_with_pillow_at_some_factor(name: str, enhance: type, pixels: torch.Tensor) -> None:
    if name == "contrast":  # Pillow's mean is of luma; on grey pictures the two agree
        pixels = pixels[:, :1].expand(-1, 3, -1, -1)
    changed = ImageAugmentation(**{name: 0.5})(pixels, IDS, 0)
    for before, after in zip(pixels[:4], changed[:4], strict=True):
        image = enhance(Image.fromarray((before.permute(1, 2, 0) * 255).round().byte().numpy()))
        gaps = []
        for factor in torch.arange(0.5, 1.505, 0.01).tolist():
            other = torch.frombuffer(bytearray(image.enhance(factor).tobytes()), dtype=torch.uint8).view(32, 32, 3)
            gaps.append(float((other.permute(2, 0, 1) / 255 - after).abs().mean()))
        assert min(gaps) < 0.006


def test_jitter_spares_its_share(pixels: torch.Tensor) -> None:
    many = pixels[:1].expand(2000, -1, -1, -1)
    changed = ImageAugmentation(brightness=0.4, jitter=0.25)(many, torch.arange(2000), 0)
    share = (changed - many).abs().gt(1e-4).flatten(1).any(1).float().mean()
    assert abs(float(share) - 0.25) < 0.04


def test_grayscale_takes_the_colour_away(pixels: torch.Tensor) -> None:
    grey = ImageAugmentation(grayscale=1.0, hue=0.5)(pixels, IDS, 0)  # turning no colour gives no colour
    luma = (pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert torch.allclose(grey, luma[:, None].expand(-1, 3, -1, -1), atol=2e-3)


def test_hue_keeps_luma_and_strength_of_colour(pixels: torch.Tensor) -> None:
    pale = 0.4 + 0.2 * pixels  # far from the clip at 0 and 1
    turned = ImageAugmentation(hue=0.5)(pale, IDS, 0)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose((turned * luma).sum(1), (pale * luma).sum(1), atol=1e-3)
    assert (turned - pale).abs().amax(dim=(1, 2, 3)).median() > 0.05

    def strength(picture: torch.Tensor) -> torch.Tensor:
        axes = torch.tensor([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
        return torch.einsum("ij,njhw->nihw", axes, picture).norm(dim=1).flatten(1)

    assert torch.allclose(strength(turned), strength(pale), atol=1e-3)
    # With saturation, too, all pixels of a picture lose or gain the same share of their colour.
    both = strength(ImageAugmentation(hue=0.5, saturation=0.5)(pale, IDS, 0))
    share = (both * strength(pale)).sum(1, keepdim=True) / strength(pale).square().sum(1, keepdim=True)
    assert torch.allclose(both, share * strength(pale), atol=1e-3)
    assert 0.5 <= share.min() < share.max() <= 1.5


def test_blur_is_the_gaussian_of_some_width(pixels: torch.Tensor) -> None:
    side = 64
    dot = torch.zeros(200, 1, side, side)
    dot[:, :, 32, 32] = 1
    blurred = ImageAugmentation(blur=1.0)(dot, torch.arange(200), 0)
    assert torch.allclose(blurred.sum(dim=(1, 2, 3)), torch.ones(200), atol=1e-5)
    row = blurred[:, 0, 32, 29:36]
    for taps in row:
        ratio = float(taps[4] / taps[3])  # exp(-1 / (2 sigma^2))
        if ratio > 1e-4:
            sigma = math.sqrt(-1 / (2 * math.log(ratio)))
            assert 0.1 <= sigma <= 2.001
            assert abs(float(taps[5] / taps[3]) - math.exp(-4 / (2 * sigma**2))) < 1e-4
    untouched = ImageAugmentation(blur=1e-9)(pixels, IDS, 0)
    assert torch.allclose(untouched, pixels, atol=1e-6)


def test_erase_paints_one_rectangle() -> None:
    white = torch.ones(500, 1, 40, 40)  # no random grey is 1
    erased = ImageAugmentation(erase=0.5)(white, torch.arange(500), 0)
    gone = erased[:, 0] != 1
    assert abs(float(gone.flatten(1).any(1).float().mean()) - 0.5) < 0.08
    for mask, picture in zip(gone, erased[:, 0], strict=True):
        if mask.any():
            rows, columns = mask.any(1).sum(), mask.any(0).sum()
            assert mask.sum() == rows * columns
            assert 0.01 * 1600 <= mask.sum() <= 0.27 * 1600
            assert picture[mask].unique().numel() == 1


@pytest.mark.parametrize(
    "bad", [{"crop": 0.0}, {"flip": 1.5}, {"hue": 0.6}, {"rotation": -1.0}, {"blur": -0.1}, {"erase": 2.0}]
)
def test_bad_arguments_are_named(bad: dict) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(UserError, match=f"data.{name} is {value}; it must be in"):
        ImageAugmentation(**bad)


def test_a_picture_turns_to_the_left_and_a_panorama_with_it() -> None:
    picture = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(4, 1, 2, 2)
    assert turned(picture, torch.arange(4)).flatten(1).tolist() == [
        [1, 2, 3, 4],
        [2, 4, 1, 3],
        [4, 3, 2, 1],
        [3, 1, 4, 2],
    ]
    panorama = torch.arange(8.0).expand(4, 1, 1, 8)  # south, southwest, west, northwest, north, ...
    assert panned(panorama, torch.arange(4))[:, 0, 0, 4].tolist() == [4, 6, 0, 2]


def test_local_crops_are_small_pieces_of_another_size(pixels: torch.Tensor) -> None:
    # Where a pixel came from, in its own value.
    across = (torch.arange(32) + 0.5).expand(1, 1, 32, 32) / 32
    where = torch.cat([across, across.mT, across], dim=1).expand(64, -1, -1, -1)
    local = Crops(size=12, largest=0.25, crop=0.0625)(where, torch.arange(64), 0)
    assert local.shape == (64, 3, 12, 12)
    reach = local[:, :2].flatten(2).amax(2) - local[:, :2].flatten(2).amin(2)
    share = reach.prod(1) * (12 / 11) ** 2
    assert share.max() < 0.26 and share.min() > 0.05 and share.min() < 0.1
    same = Crops(**EVERYTHING)(pixels, IDS, 3)
    assert torch.equal(same, ImageAugmentation(**EVERYTHING)(pixels, IDS, 3))
    assert Crops(size=12).moves and not Crops(brightness=0.1).moves
    for wrong in ({"size": 0}, {"largest": 0.1, "crop": 0.2}):
        with pytest.raises(UserError, match="local"):
            Crops(**wrong)
