"""Pairs of texts that belong together, or that somebody has scored: the user's own, from any table."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import batches
from common.batches import Sentences, SentenceTriplets
from common.benchmark import Metrics
from common.embedding.columns import Column
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import listed, ranking_metrics, retrieval_metrics
from common.evaluation.similarity import spearman
from common.protocols import EmbedsQuery, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows
from data.benchmarks.bases.floors import Scattered, bounded_words
from data.benchmarks.bases.own_data import (
    Lazy,
    OwnData,
    Part,
    Units,
    cells,
    different,
    listed_texts,
    number_in,
    text_fault,
    texts_at,
    texts_in,
)
from data.readers import Source

AT_ONCE = 256
"""Texts that a module embeds in one call."""
_NEGATIVE = 3


class TextPairs(OwnData):
    """Own texts in pairs: an anchor and its positive, with negatives if there are any; or two texts and a score.

    What a method reads decides what it is given: single sentences (every text once), triplets or pairs. Rows with the
    same anchor belong together: they share a split, and in each epoch one of them is drawn, so that none is a negative
    of another. Where a triplet has no negative of its own, the positive of another anchor is drawn. Of scored pairs the
    best are positives.

    Pairs are scored by retrieval: each anchor of a split looks for its positives among all of the split. Scored pairs
    are ranked by the cosine.

    Example, with `pairs.jsonl` of lines such as {"question": "...", "answer": "..."}::

        papers fit simcse --data TextPairs --data.path pairs.jsonl --data.anchor question --data.positive answer
        papers test simcse --ckpt_path last --data TextPairs --data.path pairs.jsonl --data.anchor question \\
            --data.positive answer

    Args:
        anchor, positive: columns of the two texts.
        negative: column of a hard negative or a list of them; by default "negative" or "negatives", if there is one.
        score: column of a number, the higher the more alike; by default the pairs are all right.
        least: score from which on a pair is trained on as a positive; by default the best quarter are.
        train: "auto" gives what the method reads, the others "sentences", "triplets" or "pairs" whatever it reads.
        others: as in `OwnData`.
    """

    name = "text_pairs"

    def __init__(
        self,
        *,
        anchor: str = "anchor",
        positive: str = "positive",
        negative: str | None = None,
        score: str | None = None,
        least: float | None = None,
        train: Literal["auto", "sentences", "triplets", "pairs"] = "auto",
        **others,
    ) -> None:
        super().__init__(**others)
        if train not in ("auto", "sentences", "triplets", "pairs"):
            raise UserError(f"data.train is {train!r}; it must be 'auto', 'sentences', 'triplets' or 'pairs'")
        if least is not None and score is None:
            raise UserError(f"data.least is {least}; data.score must name the column that it is about")
        self.anchor, self.positive, self.negative = anchor, positive, negative
        self.score, self.least, self.train = score, least, train

    def columns(self) -> dict[str, str]:
        found = {"anchor": self.anchor, "positive": self.positive}
        optional = {"negative": self.negative, "score": self.score}
        return found | {name: column for name, column in optional.items() if column is not None}

    def negatives_in(self, source: Source) -> str | None:
        """The column of negatives, if there is one."""
        named = ("negative", "negatives") if self.negative is None else (self.negative,)
        return next((column for column in named if column in source.columns), None)

    def read_columns(self, source: Source) -> list[str]:
        negatives = self.negatives_in(source)
        return list(dict.fromkeys([*self.columns().values(), *([] if negatives is None else [negatives])]))

    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        if fault := text_fault(self.anchor, row[self.anchor]) or text_fault(self.positive, row[self.positive]):
            return fault
        if self.score is not None and number_in(row[self.score]) is None:
            return f"{self.score} is {row[self.score]!r}, which is no number"
        for column in row.keys() - set(self.columns().values()):
            value = row[column]
            if any(isinstance(one, list | dict | bytes) for one in (value if isinstance(value, list) else [value])):
                return f"{column} is neither a text nor a list of texts"
        return None

    def keys(self, source: Source, at: Tensor) -> Iterator[str]:
        return texts_in(source, at, self.anchor)

    def build(self) -> None:
        super().build()
        test = self.splits["test"]
        if self.score is not None:
            self.primary = "spearman/pairs"  # type: ignore[misc]
            self.check_differ(self.score, len(self.scores(test).unique()))
            return
        anchors, positives, _ = self.gallery(test)
        self.primary = f"mrr/gallery{len(positives)}"  # type: ignore[misc]
        self.check_differ(self.anchor, len(anchors))
        self.check_differ(self.positive, len(positives))

    def scores(self, part: Part) -> Tensor:
        """The scores of a split's pairs, float64 (n,)."""
        assert self.score is not None
        return torch.tensor([float(x) for x in cells(part, torch.arange(len(part.at)), self.score)]).double()

    @cached_property
    def positives(self) -> Part:
        """What is trained on as pairs."""
        train = self.part("train")
        if self.score is None:
            return train
        scores = self.scores(train)
        least = float(scores.quantile(0.75)) if self.least is None else self.least
        keep = scores >= least
        if not keep.any():
            raise UserError(f"data.least is {least}; the best score to train on is {float(scores.max())}")
        return Part(train.source, *(column[keep] for column in train[1:]))

    def train_dataloader(self) -> ResumableLoader:
        names = {"sentences": Sentences, "triplets": SentenceTriplets, "pairs": batches.TextPairs}
        kind = names.get(self.train) or self.batch_kind(*names.values())
        if kind is Sentences:
            return self.loader(
                len(self.sentences), _Sentences(self.part("train"), self.anchor, self.positive, self.sentences)
            )
        part = self.positives
        units = Units(part.groups)
        columns = self.anchor, self.positive, self.negatives_in(part.source)
        return self.loader(len(units), _Pairs(part, units, columns, kind is SentenceTriplets))

    @cached_property
    def sentences(self) -> Tensor:
        """The place of each different text to train on: its position, that of a positive behind all anchors."""
        part = self.part("train")
        texts = chain.from_iterable(texts_in(part.source, part.at, column) for column in (self.anchor, self.positive))
        return different(texts)[0]

    def gallery(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of a split's different anchors, of its different positives, and which of the two are pairs."""
        sides = [different(texts_in(part.source, part.at, column)) for column in (self.anchor, self.positive)]
        pairs = torch.stack([numbers for _, numbers in sides], dim=1)
        return sides[0][0], sides[1][0], pairs.unique(dim=0)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval of the positives, or agreement with the scores, by cosines; as query goes what the module has.

        Returns:
            Of pairs `mrr`, `recall@1`, `recall@10`, `median_rank`, `log2_rank` and `ndcg@10`, each with `/galleryN` of
            the N different positives of the split; of scored pairs `spearman/pairs`.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embed_text = self.check_request(module, split, EmbedsText).embed_text
        part = self.splits[split]
        if self.score is not None:
            sides = [self.rows_of(module, embed_text, part, None, column) for column in (self.anchor, self.positive)]
            return {"spearman/pairs": spearman((sides[0] * sides[1]).sum(1).cpu(), self.scores(part))}
        anchors, positives, pairs = self.gallery(part)
        embed_query = module.embed_query if isinstance(module, EmbedsQuery) else embed_text
        query = self.rows_of(module, embed_query, part, anchors, self.anchor)
        key = self.rows_of(module, embed_text, part, positives, self.positive)
        right = listed(pairs.to(query.device))
        name = f"ndcg@10/gallery{len(key)}"
        return {**retrieval_metrics(query, key, right, at=(1, 10)), name: ranking_metrics(query, key, right)[name]}

    def rows_of(self, module: nn.Module, embed: Any, part: Part, at: Tensor | None, column: str) -> Tensor:
        """Normalized rows of a column's texts at some positions."""
        texts = self.texts(part, column)
        items = texts if at is None else Lazy(len(at), lambda index: texts[at[index]])
        return F.normalize(embed_dataset(embed, items, AT_ONCE, module), dim=1)

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and the commonest words counted; both know nothing of what is learnt."""
        train = self.part("train")
        sides = (texts_in(train.source, train.at, column) for column in (self.anchor, self.positive))
        texts = list(chain.from_iterable(sides))
        words = bounded_words(texts, len(self.part("test").at))
        return {"chance": self.evaluate(Scattered()), "bag of words": self.evaluate(words)}

    def embedded_columns(self, split: str) -> list[Column]:
        """The anchors as queries, the positives as texts."""
        part = self.splits[split]
        names = self.names(part)
        sides = {"query": self.anchor, "text": self.positive}
        return [Column(kind, self.texts(part, column), names) for kind, column in sides.items()]

    def example(self) -> str:
        part = self.part("train")
        at = torch.arange(min(3, len(part.at)))
        sides = zip(texts_at(part, at, self.anchor), texts_at(part, at, self.positive), strict=True)
        return "\n".join(f"{anchor}\n    {positive}" for anchor, positive in sides)


class _Sentences(NamedTuple):
    """Makes batches of single sentences."""

    part: Part
    anchor: str
    positive: str
    places: Tensor

    def __call__(self, rows: Rows, seed: int, epoch: int) -> Sentences:
        places, count = self.places[rows.index], len(self.part.at)
        sides = [texts_at(self.part, places % count, column) for column in (self.anchor, self.positive)]
        texts = [sides[side][row] for row, side in enumerate((places // count).tolist())]
        return Sentences(texts, places)


class _Pairs(NamedTuple):
    """Makes batches of pairs or triplets."""

    part: Part
    units: Units
    columns: tuple[str, str, str | None]
    triplets: bool

    def __call__(self, rows: Rows, seed: int, epoch: int) -> SentenceTriplets | batches.TextPairs:
        at = self.units.rows(rows.index, seed, epoch)
        ids = self.part.groups[at]
        anchor, positive = (texts_at(self.part, at, column) for column in self.columns[:2])
        if not self.triplets:
            return batches.TextPairs(anchor, positive, ids)
        return SentenceTriplets(anchor, positive, self.negatives(rows.index, at, ids, seed, epoch), ids)

    def negatives(self, index: Tensor, at: Tensor, ids: Tensor, *key: int) -> list[str]:
        """One of the row's own, or the positive of another unit."""
        draws, others = uniform(ids, 2, *key, _NEGATIVE).unbind(1)
        count = len(self.units)
        other = (index + 1 + (others * (count - 1)).long()) % count
        spare = texts_at(self.part, self.units.rows(other, *key), self.columns[1])
        if self.columns[2] is None:
            return spare
        own = [listed_texts(value) for value in cells(self.part, at, self.columns[2])]
        return [
            mine[int(draw * len(mine))] if mine else instead
            for mine, draw, instead in zip(own, draws.tolist(), spare, strict=True)
        ]
