"""Tux Paint stamps: cut-out pictures with captions in 77 languages and spoken captions, as Debian ships them."""

import io
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from common.lines import split_lines
from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

TUXPAINT_STAMPS = Source(
    name="tuxpaint_stamps",
    title="952 captioned cut-outs (785 as PNG), captions in English and 77 languages, 6,400 spoken captions",
    client="apt",
    package="tuxpaint-stamps-default",
    version="2022.06.04-1",
    filename="tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size=160_880_444,
    licence="GPL-2",
    citation="Bill Kendrick and contributors (2002-2022), Tux Paint stamps",
    notes="Captions repeat; some stamps exist as SVG only. Untranslated captions are left out or repeat the English "
    "one. One recording is named _desc_da.ogg.ogg.",
)
SOURCES = (TUXPAINT_STAMPS,)

_FOLDER = "usr/share/tuxpaint/stamps/"
_SPOKEN = re.compile(r"_(desc|[a-z]{2})(_[A-Za-z]{2})?(\.ogg)?\.(ogg|wav)$")


class Stamp(NamedTuple):
    key: str
    """Path below the folder of stamps, without suffix: animals/birds/owl."""
    captions: dict[str, str]
    """By language; "en" is always there and a caption that only repeats it is not."""

    @property
    def category(self) -> str:
        """The first folder, one of 16."""
        return self.key.split("/")[0]


def read_stamps(data_root: str | None = None) -> list[Stamp]:
    """The stamps that have a caption, in the order of their keys."""
    stamps = []
    for path, content in TUXPAINT_STAMPS.open(data_root).files(_FOLDER, ".txt"):
        first, *lines = split_lines(content.decode("utf-8"))
        captions = {"en": first.strip()}
        for line in lines:
            language, separator, caption = line.partition(".utf8=")
            if separator and caption.strip() and caption.strip() != captions["en"]:
                captions[language] = caption.strip()
        if captions["en"]:
            stamps.append(Stamp(path[len(_FOLDER) :].removesuffix(".txt"), captions))
    return sorted(stamps, key=lambda stamp: stamp.key)


def read_stamp_pictures(data_root: str | None = None) -> "dict[str, np.ndarray]":
    """key -> RGBA picture, uint8 of shape (height, width, 4), for the stamps that are PNG files."""
    import numpy as np
    from PIL import Image

    files = TUXPAINT_STAMPS.open(data_root).files(_FOLDER, ".png")
    pictures = {
        path[len(_FOLDER) :].removesuffix(".png"): np.array(Image.open(io.BytesIO(content)).convert("RGBA"))
        for path, content in files
        if not path.endswith(("_mirror.png", "_flip.png"))  # twins of a drawing, without a caption of their own
    }
    return dict(sorted(pictures.items()))


def read_stamp_speech(languages: tuple[str, ...], data_root: str | None = None) -> dict[str, dict[str, bytes]]:
    """language -> key -> the spoken caption as an Ogg Vorbis file (44.1 kHz, one or two channels)."""
    speech: dict[str, dict[str, bytes]] = defaultdict(dict)
    endings = {f"_desc_{language}.ogg": language for language in languages if language != "en"}
    if "en" in languages:
        endings["_desc.ogg"] = "en"
    for path, content in TUXPAINT_STAMPS.open(data_root).files(_FOLDER, tuple(endings)):
        ending = "_desc" + path.rsplit("_desc", 1)[1]
        speech[endings[ending]][path[len(_FOLDER) :].removesuffix(ending)] = content
    return {language: dict(sorted(speech[language].items())) for language in languages}


def read_stamp_sounds(data_root: str | None = None) -> dict[str, bytes]:
    """key -> the noise that the thing makes, as an Ogg Vorbis or WAV file, for the stamps that have one."""
    files = TUXPAINT_STAMPS.open(data_root).files(_FOLDER, (".ogg", ".wav"))
    # The others are spoken: captions end in _desc or _desc_fr, names of the things in _fr or _en_GB.
    return dict(sorted((path[len(_FOLDER) :], content) for path, content in files if not _SPOKEN.search(path)))
