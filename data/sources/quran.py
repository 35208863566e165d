"""The Quran in Arabic and ten translations, aligned by verse, from the npm package quran-json."""

import json

from common.errors import UserError
from data.sources.base import Source

QURAN = Source(
    name="quran",
    title="6,236 verses in Arabic and ten languages",
    client="npm",
    package="quran-json",
    version="3.1.2",
    filename="quran-json-3.1.2.tgz",
    sha256="d1454352cae9c7506d28d160486b2eb62472d45e36e01cee192d8ade889a6d49",
    size=23_209_355,
    licence="CC BY-SA 4.0 (package); the translators' own terms are unclear: do not redistribute",
    citation="Risan Bagja Pradana, quran-json; the Noble Quran Encyclopedia; Tanzil",
)
SOURCES = (QURAN,)

LANGUAGES = ("ar", "bn", "en", "es", "fr", "id", "ru", "sv", "tr", "ur", "zh")


def read_quran(*languages: str, data_root: str | None = None) -> dict[str, dict[tuple[int, int], str]]:
    """language -> (chapter, verse) -> text; the verses are the same in all languages."""
    if wrong := sorted(set(languages) - set(LANGUAGES)):
        raise UserError(f"language is {wrong[0]!r}; it must be one of {', '.join(LANGUAGES)}")
    paths = {code: f"package/dist/quran{'' if code == 'ar' else '_' + code}.json" for code in languages}
    files = QURAN.open(data_root).read_all(paths.values())
    return {
        code: {
            (chapter["id"], verse["id"]): verse["text" if code == "ar" else "translation"]
            for chapter in json.loads(files[path])
            for verse in chapter["verses"]
        }
        for code, path in paths.items()
    }
