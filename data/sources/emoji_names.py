"""Names of 5,244 emoji in 14 languages, from the emoji wheel."""

import json

from data.sources.base import Source

EMOJI_NAMES = Source(
    name="emoji_names",
    title="names of 5,244 emoji in 14 languages",
    client="pip",
    package="emoji",
    version="2.16.0",
    filename="emoji-2.16.0-py3-none-any.whl",
    sha256="c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
    size=610_912,
    licence="Unicode-3.0 (CLDR names); BSD-3-Clause (package)",
    citation="Unicode Consortium, Common Locale Data Repository",
)
SOURCES = (EMOJI_NAMES,)

LANGUAGES = ("en", "ar", "de", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")


def read_names(data_root: str | None = None) -> dict[str, dict[str, str]]:
    """language -> character -> name, as words between spaces."""
    folder = "emoji/unicode_codes"
    paths = {"en": f"{folder}/emoji.json"} | {code: f"{folder}/emoji_{code}.json" for code in LANGUAGES[1:]}
    files = EMOJI_NAMES.open(data_root).read_all(paths.values())
    tables = {language: json.loads(files[path]) for language, path in paths.items()}
    # The English file holds a record an emoji, the others just the name.
    tables["en"] = {emoji: record["en"] for emoji, record in tables["en"].items()}
    return {
        language: {emoji: name.strip(":").replace("_", " ") for emoji, name in table.items()}
        for language, table in tables.items()
    }
