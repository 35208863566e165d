"""MovieLens-100K whole, with the Freebase graph of its films, from the recbole wheel."""

from typing import Any

from common.lines import split_lines
from data.sources.base import Source

RECBOLE = Source(
    name="recbole",
    title="MovieLens-100K: 100,000 ratings, 943 people, 1,682 films, and 91,631 Freebase triples",
    client="pip",
    package="recbole",
    version="1.2.1",
    filename="recbole-1.2.1-py3-none-any.whl",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    size=2_130_151,
    licence="research use without redistribution (GroupLens); CC BY (Freebase); MIT (package)",
    citation="Harper and Konstan (2015), The MovieLens datasets; Zhao et al. (2019), KB4Rec",
    notes="The table that links films to Freebase is scrambled: sequels join unrelated titles, and the genres of the "
    "two agree no better than by chance. Each of the two is sound by itself; entities have no names.",
)
SOURCES = (RECBOLE,)


def read_movielens(data_root: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Five tables of records; ids are strings.

    "inter": user_id, item_id, rating (1 to 5), timestamp (seconds). "user": user_id, age, gender, occupation, zip_code.
    "item": item_id, movie_title, release_year, class (a list of genres). "kg": head_id, relation_id, tail_id.
    "link": item_id, entity_id; it names the entities that are films, but not which film each is.
    """
    paths = {table: f"recbole/dataset_example/ml-100k/ml-100k.{table}" for table in _TABLES}
    files = RECBOLE.open(data_root).read_all(paths.values())
    return {table: _records(files[path].decode("utf-8")) for table, path in paths.items()}


_TABLES = ("inter", "user", "item", "kg", "link")


def _records(text: str) -> list[dict[str, Any]]:
    header, *lines = (line.split("\t") for line in split_lines(text) if line.strip())
    # A column's name carries its type: user_id:token, rating:float, class:token_seq.
    columns = [tuple(column.split(":")) for column in header]
    return [
        {name: _value(name, kind, cell) for (name, kind), cell in zip(columns, line, strict=True)} for line in lines
    ]


def _value(name: str, kind: str, cell: str) -> Any:
    if kind == "float":
        return float(cell)
    return cell.split() if name == "class" else cell
