"""Pictures of every kind, opened as they are meant to be seen."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from data.cells import stored
from data.pictures import cropped, middle, opened, squeezed


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def test_any_mode_becomes_colour_or_grey() -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert opened(encoded(clear, "PNG"), colour=True).getpixel((5, 5)) == (255, 255, 255)
    deep = Image.fromarray(np.full((10, 10), 0x8000, np.uint16))
    assert opened(encoded(deep, "PNG"), colour=False).getpixel((5, 5)) == 0x80
    palette = Image.new("RGB", (10, 10), (0, 0, 255)).convert("P")
    assert opened(encoded(palette, "GIF"), colour=True).getpixel((5, 5))[2] > 250


def test_a_photograph_stands_as_it_was_taken() -> None:
    picture = Image.new("RGB", (16, 32), "black")
    picture.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    seen = opened(encoded(picture, "JPEG", exif=exif), colour=False)
    assert seen.getpixel((8, 4)) < 10 and seen.getpixel((8, 28)) > 245


def test_what_is_cut_out() -> None:
    picture = Image.new("L", (40, 20), 0)
    picture.paste(255, (20, 0, 40, 20))
    assert middle(picture, 10).shape == (1, 10, 10) and middle(picture, 10)[0, 5].float().mean() == pytest.approx(
        127, abs=2
    )
    assert (squeezed(picture, 20)[0, :, 12:] == 255).all() and (squeezed(picture, 20)[0, :, :8] == 0).all()
    left, right = (cropped(picture, 8, 0.1, [0.0, 0.5, across, 0.5]) for across in (0.0, 0.999))
    assert left.max() == 0 and right.min() == 255
    assert torch.equal(cropped(picture, 20, 1.0, [0.3] * 4), squeezed(picture, 20))


def test_a_small_target_does_not_make_a_picture_too_small(tmp_path: Path) -> None:
    large = encoded(Image.new("RGB", (64, 64)), "JPEG")
    assert opened(large, colour=True, side=4).size == (8, 8)
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (7, 30)).save(tiny)
    for header in (False, True):
        with pytest.raises(UserError, match="has 7 x 30 pixels; it must have 8 a side at least"):
            opened(tiny, colour=True, header=header)
    opened(large[:-40], colour=True, header=True)
    with pytest.raises(UserError, match="cannot be read: "):
        opened(large[:-40], colour=True)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a.png", Path("here/a.png")),
        (" a.png ", Path("here/a.png")),
        ("/else/a.png", Path("/else/a.png")),
        (b"x", b"x"),
        ({"bytes": b"x", "path": "a.png"}, b"x"),
        ({"bytes": None, "path": "a.png"}, Path("here/a.png")),
        ("", "is empty"),
        (None, "is empty"),
        ({"bytes": None, "path": None}, "is empty"),
        (3, "is neither a path nor bytes"),
    ],
)
def test_what_a_cell_may_hold(value: object, found: Path | bytes | str) -> None:
    if not isinstance(found, str):
        assert stored(value, Path("here")) == found
        return
    with pytest.raises(UserError, match=found):
        stored(value, Path("here"))
