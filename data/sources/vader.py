"""Sentences of four domains rated by people for sentiment, from the sdist of vaderSentiment (its wheel lacks them)."""

from typing import Literal, NamedTuple, get_args

from common.errors import UserError
from common.lines import split_lines
from data.sources.base import Source

VADER = Source(
    name="vader",
    title="23,703 sentences (film reviews, tweets, editorials, product reviews) rated by 20 people",
    client="pip",
    package="vaderSentiment",
    version="3.3.2",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    size=2_466_783,
    licence="MIT (package)",
    citation="Hutto and Gilbert (2014), VADER: a parsimonious rule-based model for sentiment analysis of social media "
    "text",
)
SOURCES = (VADER,)

Domain = Literal["movies", "tweets", "editorials", "products"]
_FILES = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
    "products": "amazonReviewSnippets",
}


class Rated(NamedTuple):
    key: str
    rating: float
    """Mean over the raters, from -4 (most negative) to 4."""
    text: str


def read_rated(domain: Domain, data_root: str | None = None) -> list[Rated]:
    """The sentences of one domain. In "editorials" and "products" keys such as 12_3 and 12_4 share their article."""
    if domain not in get_args(Domain):
        raise UserError(f"domain is {domain!r}; it must be one of {', '.join(get_args(Domain))}")
    inner = VADER.open(data_root).inner("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
    content = inner.read(f"hutto_ICWSM_2014/{_FILES[domain]}_GroundTruth.txt")
    rows = (line.split("\t") for line in split_lines(content.decode("latin-1")) if line.strip())
    return [Rated(key, float(rating), text) for key, rating, text in rows]
