"""The nouns of a collection of captions, as the released code finds them, and how that list is made.

python -m papers.vision_language.catlip.vocabulary FOLDER OUTPUT.json     # of LAION-400M's captions, 24,320 nouns
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import islice
from pathlib import Path

from common.lines import split_lines
from data.benchmarks.bases.told_words import words_of
from data.benchmarks.published.laion import Laion400M
from data.sources.wordnet import WORDNET

SIZE = 24_320
SAMPLE = 10_000_000
"""Captions of LAION-400M that are counted."""
_FILES = [f"usr/share/wordnet/{name}" for name in ("index.noun", "data.noun", "noun.exc")]
_ENDINGS = {"s": "", "ses": "s", "ves": "f", "xes": "x", "zes": "z", "ches": "ch", "shes": "sh", "men": "man"}
_ENDINGS |= {"ies": "y"}


class Nouns:
    """WordNet's nouns by their forms.

    A word counts if the first meaning of its lemma, as a noun, is named after that lemma. What part of speech it is in
    the caption does not: the released code tags the words and does not look at the tags, so "run" and "red" count.
    """

    def __init__(self, data_root: str | None = None) -> None:
        contents = WORDNET.open(data_root).read_all(_FILES)
        index, meanings, exceptions = (split_lines(contents[path].decode("ascii")) for path in _FILES)
        names = {line[:8]: line.split()[4].lower() for line in meanings if not line.startswith(" ")}
        rows = (line.split() for line in index if not line.startswith(" "))
        self._first = {row[0]: names[row[-int(row[2])]] for row in rows}
        self._exceptions = {form: lemmas for form, *lemmas in map(str.split, exceptions)}

    def lemma(self, word: str) -> str:
        """The shortest form that WordNet knows as a noun, or the word itself."""
        if word in self._exceptions:
            forms = [word, *self._exceptions[word]]
        else:
            forms = [word, *(word.removesuffix(end) + new for end, new in _ENDINGS.items() if word.endswith(end))]
        return min((form for form in forms if form in self._first), key=len, default=word)

    def noun(self, word: str) -> str | None:
        """The label of a word in lower case, if it has one."""
        lemma = self.lemma(word)
        return lemma if self._first.get(lemma) == lemma else None


def columns(captions: Iterable[str], nouns: Nouns, size: int) -> dict[str, int]:
    """Each form of the most common nouns with the nouns' place, the most common at 0; a caption counts one once."""
    noun, counts, forms = cache(nouns.noun), Counter[str](), dict[str, str]()
    for caption in captions:
        found = {word: label for word in words_of(caption) if (label := noun(word)) is not None}
        forms |= found
        counts.update(list(dict.fromkeys(found.values())))
    place = {label: number for number, (label, _) in enumerate(counts.most_common(size))}
    return {form: place[label] for form, label in sorted(forms.items()) if label in place}


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    captions = islice(Laion400M(data_root=arguments[0]).captions(), SAMPLE)
    found = columns(captions, Nouns(), SIZE)
    Path(arguments[1]).write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
