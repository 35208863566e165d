"""Word vectors from a dump of Wikipedia, scored by BATS: for full recipes of word vectors."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from common.errors import UserError
from common.lines import read_lines
from data.benchmarks.bases.windows import WindowedText
from data.published import published_folder

TEXT, BATS = "text.txt", "BATS_3.0"
LONGEST = 1000
"""Words of a line; what is left begins another."""


class WikipediaAnalogies(WindowedText):
    """The dump that the authors of CWM link to, a document a line, and the 40 relations of BATS 3.0.

    Of a word with several answers the first counts; words are in lower case. It is held in memory, some 8 bytes a word.

    Args:
        batch_size, seed, min_count, window, sample: as in `WindowedText`.
        data_root: folder with `text.txt` and the folder `BATS_3.0`.
    """

    name = "wikipedia_analogies"
    published = True

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="Wikipedia as one text, and BATS 3.0",
            files=[TEXT, BATS],
            where="the README of https://github.com/narutatsuri/cwm and http://vecto.space/projects/BATS",
            terms="CC BY-SA (Wikipedia); CC BY-NC (BATS)",
        )

    def prepare_data(self) -> None:
        self._folder()

    def lines(self) -> Iterator[Sequence[str]]:
        for line in read_lines(self._folder() / TEXT):
            words = line.split()
            for start in range(0, len(words), LONGEST):
                yield words[start : start + LONGEST]

    def asked(self) -> dict[str, list[tuple[str, str]]]:
        files: Iterable[Path] = sorted((self._folder() / BATS).glob("*/*.txt"))
        return {path.stem: list(dict.fromkeys(_pairs(path))) for path in files}


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_lines(path), start=1):
        if fields := line.lower().split():
            if len(fields) != 2:
                raise UserError(f"{path}:{number}: a word and its answers are wanted, with white space between")
            word, answer = fields[0], fields[1].split("/")[0]
            if answer != word:
                yield word, answer
