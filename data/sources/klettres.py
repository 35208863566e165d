"""KLettres: the letters and many syllables of twenty languages, each read out once, as Debian ships them."""

import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

from data.sources.base import Source

KLETTRES = Source(
    name="klettres",
    title="1,835 spoken letters and syllables in 20 languages, Ogg Vorbis",
    client="apt",
    package="klettres-data",
    version="4:22.12.3-1",
    filename="klettres-data_4%3a22.12.3-1_all.deb",
    sha256="1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
    size=39_529_084,
    licence="GPL-2+",
    citation="Anne-Marie Mahfouf and contributors (2001-2022), KLettres",
    notes="The readers are not named; one a language is assumed. Indonesian and Nynorsk list sounds that are not "
    "there. Some clips begin or end with a second of silence.",
)
SOURCES = (KLETTRES,)

_FOLDER = "usr/share/klettres/"


class Sound(NamedTuple):
    """One recording."""

    language: str
    """KDE's code: es, pt_BR, en_GB."""
    kind: str
    """ "letter" or "syllable"."""
    text: str
    """What is read out, in upper case as a rule."""
    audio: bytes
    """An Ogg Vorbis file."""


def read_letters_and_syllables(data_root: str | None = None) -> list[Sound]:
    """Every sound that a language lists and whose recording is there, language by language, in the order listed."""
    archive = KLETTRES.open(data_root)
    files = {path[len(_FOLDER) :]: content for path, content in archive.files(_FOLDER, (".ogg", "/sounds.xml"))}
    sounds = []
    for path in sorted(path for path in files if path.endswith("/sounds.xml")):
        listed = ElementTree.fromstring(files[path])
        for kind, tag in (("letter", "alphabet"), ("syllable", "syllables")):
            for sound in listed.iterfind(f".//{tag}/sound"):
                audio = files.get(sound.get("file", ""))
                if audio is not None:
                    sounds.append(Sound(path.split("/")[0], kind, sound.get("name", ""), audio))
    return sounds
