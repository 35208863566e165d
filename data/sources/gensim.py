"""What people judged similar: the Lee documents, WordSim-353 and SimLex-999, from the test data of the gensim wheel."""

from common.lines import split_lines
from data.sources.base import Source

GENSIM = Source(
    name="gensim",
    title="Lee: 50 documents and people's similarity of all 1,225 pairs, 300 more; WordSim-353; SimLex-999",
    client="pip",
    package="gensim",
    version="4.4.0",
    filename="gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    size=27_809_988,
    licence="as published with each test set (research use); LGPL-2.1 (package)",
    citation="Lee, Pincombe and Welsh (2005), An empirical evaluation of models of text document similarity; "
    "Finkelstein et al. (2001), Placing search in context; Hill, Reichart and Korhonen (2015), SimLex-999",
    notes="The Lee files are latin-1, not UTF-8.",
)
SOURCES = (GENSIM,)

_FOLDER = "gensim/test/test_data"


def read_lee(data_root: str | None = None) -> tuple[list[str], list[list[float]]]:
    """The 50 documents, and the 50 x 50 symmetric matrix of people's mean similarity in [0, 1], 1 on its diagonal."""
    files = GENSIM.open(data_root).read_all([f"{_FOLDER}/lee.cor", f"{_FOLDER}/similarities0-1.txt"])
    documents = split_lines(files[f"{_FOLDER}/lee.cor"].decode("latin-1"))
    rated = split_lines(files[f"{_FOLDER}/similarities0-1.txt"].decode("ascii"))
    upper = [[float(x) for x in line.split()] for line in rated]
    # The file holds the upper triangle, with zeros below.
    return documents, [[upper[min(i, j)][max(i, j)] for j in range(50)] for i in range(50)]


def read_lee_background(data_root: str | None = None) -> list[str]:
    """The 300 unrated documents of the same news service."""
    return split_lines(GENSIM.open(data_root).read(f"{_FOLDER}/lee_background.cor").decode("latin-1"))


def read_wordsim353(data_root: str | None = None) -> list[tuple[str, str, float]]:
    """353 pairs of words with people's mean relatedness, 0 to 10."""
    return _pairs("wordsim353.tsv", data_root)


def read_simlex999(data_root: str | None = None) -> list[tuple[str, str, float]]:
    """999 pairs of words with people's mean similarity (related words that differ score low), 0 to 10."""
    return _pairs("simlex999.txt", data_root)


def read_analogies(data_root: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """The 14 relations of word2vec's questions, such as capitals and plurals, each with its pairs in lower case."""
    text = GENSIM.open(data_root).read(f"{_FOLDER}/questions-words.txt").decode("utf-8")
    relations: dict[str, dict[tuple[str, str], None]] = {}
    for line in split_lines(text):
        words = line.lower().split()
        if words[:1] == [":"]:
            relations[words[1]] = {}
        elif words:
            relations[next(reversed(relations))][words[0], words[1]] = None
    return {name: list(pairs) for name, pairs in relations.items()}


def _pairs(file: str, data_root: str | None) -> list[tuple[str, str, float]]:
    lines = split_lines(GENSIM.open(data_root).read(f"{_FOLDER}/{file}").decode("utf-8"))
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return [(first, second, float(score)) for first, second, score in rows]
