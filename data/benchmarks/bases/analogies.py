"""Words that are learnt from their pairs in a text, and scored by analogies."""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from common.batches import WordPairs
from common.benchmark import Benchmark, Metrics
from common.encoders.static import ppmi_svd_of_counts
from common.errors import UserError
from common.evaluation.analogies import analogy_metrics
from common.evaluation.embed import evaluating
from common.protocols import EmbedsSymbols
from common.random import normal

DIM = 50
"""Of the floors."""


class Analogies(Benchmark):
    """Pairs of words that stand near each other, and relations by which the words' vectors are scored.

    A subclass sets `vocabulary`, `counts` and `relations` in `build`, and gives `cooccurrences`.

    Arguments as in `Benchmark`.
    """

    primary = "pcs/relation"
    vocabulary: list[str]
    counts: Tensor
    """How often each word of the vocabulary is trained on, int64 (words,)."""
    relations: Mapping[str, dict[str, Tensor]]
    """For each scored split and relation the pairs (first word, second word), int64 (m, 2)."""

    def word_counts(self) -> Tensor:
        self.setup()
        return self.counts

    def cooccurrences(self) -> csr_array:
        """How often each word of the vocabulary stood beside each other one, (words, words or those that ever do)."""
        raise NotImplementedError

    def sizes(self) -> dict[str, int]:
        """Words that are trained on, and pairs of words that are scored."""
        self.setup()
        scored = {split: sum(map(len, found.values())) for split, found in self.relations.items()}
        return {"train": int(self.counts.sum()), **scored}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """The vectors of all words by the relations of a split, see `analogy_metrics`.

        Raises:
            UserError: the module does not offer `embed_symbols`, or has another number of words; no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsSymbols)
        with evaluating(module):
            rows = embeds.embed_symbols().float().cpu()
        if len(rows) != len(self.vocabulary):
            raise UserError(f"embed_symbols returned {len(rows)} rows; {self.name} has {len(self.vocabulary)} words")
        return analogy_metrics(rows.clone(), list(self.relations[split].values()), 66)

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and the singular directions of pointwise mutual information, both with 50 dimensions."""
        self.setup()
        return {
            "chance": self.evaluate(_Rows(normal(torch.arange(len(self.vocabulary)), DIM, 67))),
            "PPMI-SVD": self.evaluate(_Rows(ppmi_svd_of_counts(self.cooccurrences(), DIM))),
        }


def counted(pairs: WordPairs, words: int) -> csr_array:
    """How often each word is beside each, (words, words)."""
    at = (pairs.neighbour.numpy(), pairs.centre.numpy())
    return csr_array((np.ones(len(pairs.ids)), at), shape=(words, words))


class _Rows(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def embed_symbols(self) -> Tensor:
        return self.rows
