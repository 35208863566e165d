"""Three small knowledge graphs with readable names, from the pykeen wheel."""

from typing import Literal, get_args

from common.errors import UserError
from common.lines import split_lines
from data.sources.base import Source

PYKEEN = Source(
    name="pykeen",
    title="knowledge graphs Nations (1,992 triples), Kinships (10,686) and UMLS (6,529)",
    client="pip",
    package="pykeen",
    version="1.11.1",
    filename="pykeen-1.11.1-py3-none-any.whl",
    sha256="b6cc0ab012fc6ba4f37b58fb7081a409a5c1f04cbbb0e0e9c2256e911757d4ba",
    size=730_295,
    licence="public research sets; MIT (package)",
    citation="Kemp et al. (2006), Learning systems of concepts with an infinite relational model; Ali et al. (2021), "
    "PyKEEN",
)
SOURCES = (PYKEEN,)

Graph = Literal["nations", "kinships", "umls"]
Triple = tuple[str, str, str]


def read_triples(graph: Graph, data_root: str | None = None) -> dict[str, list[Triple]]:
    """ "train", "val" and "test": (head, relation, tail) by name."""
    if graph not in get_args(Graph):
        raise UserError(f"graph is {graph!r}; it must be one of {', '.join(get_args(Graph))}")
    paths = {split: f"pykeen/datasets/{graph}/{file}.txt" for split, file in _SPLITS.items()}
    files = PYKEEN.open(data_root).read_all(paths.values())
    return {
        split: [_triple(line) for line in split_lines(files[path].decode()) if line] for split, path in paths.items()
    }


def _triple(line: str) -> Triple:
    head, relation, tail = line.split("\t")
    return head, relation, tail


_SPLITS = {"train": "train", "val": "valid", "test": "test"}
