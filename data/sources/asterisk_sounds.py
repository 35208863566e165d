"""Telephone prompts spoken in five languages, each clip with its transcript and the same ids, as Debian ships them."""

from common.errors import UserError
from common.lines import split_lines
from data.sources.base import Source

# language: title, folder of the clips, licence, then checksum and size of the package of clips and of transcripts
_FACTS = {
    "en": ("English, Allison", "en_US_f_Allison", "CC BY-SA 3.0", "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d", 18_272_864, "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50", 22_844),
    "es": ("Spanish, Allison", "es_MX_f_Allison", "CC BY-SA 3.0", "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903", 23_767_256, "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74", 22_012),
    "fr": ("French, June", "fr_CA_f_June", "CC BY-SA 3.0", "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e", 18_516_060, "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056", 23_152),
    "it": ("Italian, Carlo", "it_IT_m_Carlo", "CC BY-SA 3.0", "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb", 18_262_124, "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b", 23_972),
    "ru": ("Russian, IvrvoiceRU", "ru_RU_f_IvrvoiceRU", "CC BY 3.0", "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201", 18_788_860, "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab", 25_592),
}  # fmt: skip
# ruff: noqa: E501  (one row a language reads better than seven lines)

LANGUAGES = tuple(_FACTS)


def _source(language: str, clips: bool) -> Source:
    title, _, licence, clips_sha, clips_size, text_sha, text_size = _FACTS[language]
    package = f"asterisk-core-sounds-{language}" + ("-wav" if clips else "")
    return Source(
        name=f"asterisk_{language}_{'clips' if clips else 'text'}",
        title=f"telephone prompts in {title}: {'recordings, 8 kHz' if clips else 'transcripts'}",
        client="apt",
        package=package,
        version="1.6.1-1",
        filename=f"{package}_1.6.1-1_all.deb",
        sha256=clips_sha if clips else text_sha,
        size=clips_size if clips else text_size,
        licence=licence,
        citation="Digium, Asterisk core sounds",
        notes="Each language has one speaker; Allison speaks two of them, English and Spanish.",
    )


CLIPS = {language: _source(language, clips=True) for language in _FACTS}
TRANSCRIPTS = {language: _source(language, clips=False) for language in _FACTS}
SOURCES = (*CLIPS.values(), *TRANSCRIPTS.values())


def read_transcripts(language: str, data_root: str | None = None) -> dict[str, str]:
    """Clip id such as "digits/7" -> what is said. Ids are shared by the languages."""
    _check(language)
    package = f"asterisk-core-sounds-{language}"
    path = f"usr/share/doc/{package}/core-sounds-{language}.txt.gz"
    (content,) = TRANSCRIPTS[language].open(data_root).unzipped(path)
    rows = (line.partition(": ") for line in split_lines(content.decode("utf-8")) if not line.startswith(";"))
    return {clip.strip(): said.strip() for clip, separator, said in rows if separator and said.strip()}


def read_clips(language: str, data_root: str | None = None) -> dict[str, bytes]:
    """Clip id -> WAV file, 8 kHz, 16 bits, mono. Ids under "silence/" are silent."""
    _check(language)
    folder = f"usr/share/asterisk/sounds/{_FACTS[language][1]}/"
    files = CLIPS[language].open(data_root).files(folder, ".wav")
    return {path[len(folder) :].removesuffix(".wav"): content for path, content in files}


def _check(language: str) -> None:
    if language not in LANGUAGES:
        raise UserError(f"language is {language!r}; it must be one of {', '.join(LANGUAGES)}")
