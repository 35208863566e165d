"""Sentiment in four domains: learnt in some, asked for in another."""

from collections.abc import Sequence
from functools import cache
from typing import get_args

import torch

from common.batches import LabelledTexts
from common.errors import UserError
from common.random import uniform
from common.table import joined, take
from data.benchmarks.bases.texts import TextClassification, documents
from data.sources.vader import VADER, Domain, Rated, read_rated

DOMAINS = get_args(Domain)
CLEAR = 0.5
"""Sentences whose mean rating, from -4 to 4, is nearer to 0 than this have no class and are left out."""
SIZES = {"test": 300, "val": 100, "train": 600}
"""Sentences of either class in each split of each domain."""


class Sentiment(TextClassification):
    """2,000 rated sentences a domain, half of them positive: 1,200 train, 200 validation, 600 test.

    Sentences of one editorial or product review stay in one split. Probes learn from the train sentences of `source`;
    the splits that are scored, and what `unlabelled` adds to the batches, are of `target`. The same metrics with
    "source/" in front are of the source domains' own held-out sentences.

    Args:
        source: domains whose labels are known: "movies", "tweets", "editorials", "products".
        target: the domain that is scored; the same one as `source` for the reference within a domain.
        kwargs: as in `TextClassification`.
    """

    name = "sentiment"
    sources = (VADER,)
    classes = ("negative", "positive")

    def __init__(self, source: Sequence[Domain] = ("movies",), target: Domain = "products", **kwargs) -> None:
        super().__init__(**kwargs)
        if not source or isinstance(source, str) or len(set(source)) < len(source) or set(source) - set(DOMAINS):
            raise UserError(f"data.source is {source!r}; it must list some of {', '.join(DOMAINS)}, each once")
        if target not in DOMAINS:
            raise UserError(f"data.target is {target!r}; it must be one of {', '.join(DOMAINS)}")
        self.source = tuple(source)
        self.target = target
        self.gallery_per_class = SIZES["train"] * len(self.source)

    def load(self) -> dict[str, LabelledTexts]:
        self.domains = _domains(self.data_root)
        train = joined(*(self.domains[domain]["train"] for domain in self.source))
        return {"train": train, **{split: self.domains[self.target][split] for split in ("val", "test")}}

    def unlabelled_set(self) -> LabelledTexts:
        self.setup()
        return self.domains[self.target]["train"]

    def scored(self, split: str) -> dict[str, LabelledTexts]:
        """The target domain, and under "source/" the domains whose labels are known."""
        return {"": self.splits[split], "source/": joined(*(self.domains[domain][split] for domain in self.source))}


@cache
def _domains(data_root: str | None) -> dict[Domain, dict[str, LabelledTexts]]:
    """The splits of each domain. A sentence that occurs again, in any domain, is left out."""
    seen: set[str] = set()
    found = {}
    for number, domain in enumerate(DOMAINS):
        rated = [one for one in read_rated(domain, data_root) if abs(one.rating) >= CLEAR]
        rated = [one for one in rated if one.text.lower() not in seen and not seen.add(one.text.lower())]
        found[domain] = _splits(rated, number)
    return found


def _splits(rated: list[Rated], domain: int) -> dict[str, LabelledTexts]:
    """The splits of one domain: whole articles in a fixed random order fill one split after the other."""
    articles: dict[str, list[int]] = {}
    for position, one in enumerate(rated):
        articles.setdefault(one.key.split("_")[0], []).append(position)
    order = uniform(torch.tensor([int(key) for key in articles]), 1, 7, domain).flatten().argsort(stable=True)
    queue = iter([list(articles.values())[i] for i in order.tolist()])
    texts = documents([(int(one.rating > 0), one.text) for one in rated], 100_000 * domain, domain)
    splits = {}
    for split, size in SIZES.items():
        members: tuple[list[int], list[int]] = ([], [])
        while min(map(len, members)) < size:
            for position in next(queue):
                members[int(texts.labels[position])].append(position)
        splits[split] = take(texts, torch.tensor([*members[0][:size], *members[1][:size]]))
    return splits
