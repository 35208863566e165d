"""Links of the repository's Markdown, so that they lead to the site's pages where it has them."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

# [text](target) and ![text](target), outside of code; the target has no spaces in this repository.
_LINK = re.compile(r"(`+[^`]*`+)|(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class Links:
    """Rewrites the links of pages, which keep the places that their files have in the repository.

    Args:
        root: the repository.
        moved: what stands elsewhere on the site, as {"results/README.md": "claims.md"}.
        pages: all pages of the site, by their places, as "papers/audio/const/README.md".
    """

    def __init__(self, root: Path, moved: dict[str, str], pages: Collection[str]) -> None:
        self.root, self.moved, self.pages = root, moved, set(pages)
        self.files: set[str] = set()
        """Files that pages show or lead to, which must be copied beside them."""

    def rewrite(self, text: str, place: str) -> str:
        """The text of the page at `place` with its links."""
        lines, fence = [], None
        for line in text.split("\n"):
            if found := _FENCE.match(line):
                fence = None if fence == found[1] else fence or found[1]
            lines.append(line if fence else _LINK.sub(lambda match: self._link(match, place), line))
        return "\n".join(lines)

    def _link(self, match: re.Match[str], place: str) -> str:
        code, words, target = match.groups()
        if code or re.match(r"[a-z]+:|#|/", target):
            return match[0]
        path, _, anchor = target.partition("#")
        found = os.path.normpath(PurePosixPath(place).parent / path)
        for page in (self.moved.get(found), found, f"{found}/README.md"):
            if page in self.pages:
                return f"{words}(/{page}{'#' + anchor if anchor else ''})"
        if (self.root / found).is_file():
            self.files.add(found)
            return f"{words}({target})"
        return words[1:-1] if words.startswith("[") else words  # a folder of code: the words alone


def outside(html: str) -> Iterator[str]:
    """What a page would fetch from a network: scripts, styles, pictures and fonts with an address."""
    tags = "script|img|iframe|source|video|audio|embed|object|link"
    address = r"[\"']?((?:https?:)?//[^\"'\s>]+)"
    yield from re.findall(rf"<(?:{tags})\b[^>]*?\b(?:src|href|data)={address}", html, re.I)
    yield from re.findall(r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')\s]+)", html, re.I)
