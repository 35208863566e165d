"""Four English versions of the Bible, aligned by verse, as the pythonbible-* wheels ship them."""

import ast

from common.errors import UserError
from data.sources.base import Source

_YEARS = {"kjv": ("King James Version", 1769), "asv": ("American Standard Version", 1901)}
_YEARS |= {"web": ("World English Bible", 2000), "ylt": ("Young's Literal Translation", 1898)}
_CHECKSUMS = {
    "kjv": ("513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914", 10_115_040),
    "asv": ("d5f7a0ff67967b6b1f901a7f57895e2e38f5e748743bbafdbfbffdc8895f37c8", 9_978_693),
    "web": ("66f90ca618551e0bc0dccf0c69d8042fb0083cae099b70d8c4fa3aaea0deab64", 9_839_794),
    "ylt": ("dfff6ff29788ab270852d38bdd041b65d37fc6945a63a12370bc34503a327517", 10_242_137),
}

VERSIONS = {
    version: Source(
        name=f"pythonbible_{version}",
        title=f"{title}, 31,102 verses",
        client="pip",
        package=f"pythonbible-{version}",
        version="0.0.2",
        filename=f"pythonbible_{version}-0.0.2-py3-none-any.whl",
        sha256=_CHECKSUMS[version][0],
        size=_CHECKSUMS[version][1],
        licence="public domain (text); MIT (package)",
        citation=f"{title} ({year})",
        notes="Backticks stand for apostrophes. The KJV puts words that its translators added in [brackets]. A few "
        "verses of the ASV are empty. The wheel of the BBE is left out: nearly all of its verse offsets are wrong.",
    )
    for version, (title, year) in _YEARS.items()
}
SOURCES = tuple(VERSIONS.values())


def read_verses(version: str, data_root: str | None = None) -> dict[int, str]:
    """The verses of "kjv", "asv", "web" or "ylt" in their order, by number.

    The number is book * 1,000,000 + chapter * 1,000 + verse (43003016 is John 3:16) and is the same in all versions.
    Runs of white space are one space and backticks are apostrophes; a verse may be the empty string.
    """
    if version not in VERSIONS:
        raise UserError(f"version is {version!r}; it must be one of {', '.join(VERSIONS)}")
    code = VERSIONS[version].open(data_root).read(f"pythonbible_{version}/plain_text_readers_bible.py")
    # The wheel holds the text as the arguments of one call: Bible(version, text, starts, ends, ...). They are literals,
    # so they can be read off the syntax tree and no line of the file runs.
    call = next(node.value for node in ast.parse(code).body if isinstance(node, ast.Assign))
    assert isinstance(call, ast.Call)
    text, starts, ends = (ast.literal_eval(argument) for argument in call.args[1:4])
    return {verse: " ".join(text[start : ends[verse]].replace("`", "'").split()) for verse, start in starts.items()}
