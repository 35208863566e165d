"""KTuberling: the names of things to put on a potato man, spoken in 23 languages, as Debian ships them."""

import xml.etree.ElementTree as ElementTree

from data.sources.base import Source

KTUBERLING = Source(
    name="ktuberling",
    title="1,857 spoken names of things in 26 languages and spellings, Ogg Vorbis, Opus and WAV",
    client="apt",
    package="ktuberling-data",
    version="4:22.12.3-1",
    filename="ktuberling-data_4%3a22.12.3-1_all.deb",
    sha256="fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
    size=46_661_752,
    licence="GPL-2+",
    citation="Eric Bischoff, John Calhoun and contributors (1999-2022), KTuberling",
    notes="The speakers are not named; one a language is assumed. Serbian comes in four spellings with the same "
    "recordings. Several names may share a recording.",
)
SOURCES = (KTUBERLING,)

_FOLDER = "usr/share/ktuberling/sounds/"


def read_spoken_names(data_root: str | None = None) -> dict[str, dict[str, bytes]]:
    """language -> English name of the thing -> sound file, where the recording is there."""
    files = {path[len(_FOLDER) :]: content for path, content in KTUBERLING.open(data_root).files(_FOLDER, _ENDINGS)}
    spoken = {}
    for theme in sorted(path for path in files if path.endswith(".soundtheme")):
        listed = ElementTree.fromstring(files[theme]).iter("sound")
        pairs = {sound.get("name", ""): files.get(sound.get("file", "")) for sound in listed}
        if found := {name: audio for name, audio in pairs.items() if audio is not None}:
            spoken[theme.removesuffix(".soundtheme")] = found
    return spoken


_ENDINGS = (".ogg", ".opus", ".wav", ".soundtheme")
