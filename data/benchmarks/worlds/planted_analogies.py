"""Words in whose company relations are planted: a part that a pair shares, and one of each side. Generated."""

from typing import Literal

import torch
from scipy.sparse import csr_array
from torch import Tensor

from common.batches import WordPairs
from common.benchmark import digest
from common.errors import UserError
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.benchmarks.bases.analogies import Analogies, counted

RELATIONS = {"test": 40, "val": 10}
PAIRS = 20
"""Of each relation."""
CONTEXTS = 400
"""Words that stand beside the others, and are in no pair."""
SHARP = 2.0
"""Standard deviation of the logarithm of a context's probability, in what a pair shares and in what a side has."""
ATTRIBUTE, NOISE = 0.3, 0.3
"""Shares of a word's company: of its side of the relation, and of noise that is the same for all words."""
ZIPF = 0.5
"""The word of rank r comes as often as r^-ZIPF says."""
_COUNT = sum(RELATIONS.values()) * PAIRS
_BASES, _SIDES, _ANYWHERE, _RANKS, _TOKENS = 60, 61, 62, 63, 64


class PlantedAnalogies(Analogies):
    """50 relations of 20 pairs of words, and 400 contexts; 40 relations are for the test, 10 for validation.

    Beside a word stands a context from a mixture: of what both words of its pair share, of what all words of its side
    of the relation share, and of noise. So the difference of the company of a pair's two words is that of the sides,
    equal for all pairs of a relation; how far vectors follow it is the question, and few counts make it hard. All words
    are trained on, and nothing of the relations is told. The seed draws the tokens and their order.

    Args:
        batch_size: tokens; each is a pair in both orders.
        seed: as in `Benchmark`.
        tokens: a word and a context each.
        shared: "pair", both words of a pair share a part of their company; "elsewhere", the second word shares it with
            the first of another relation's pair, so that no two offsets are parallel: a control.

    Raises:
        UserError: an argument is out of range.
    """

    name = "planted_analogies"

    def __init__(
        self,
        batch_size: int = 2048,
        seed: int = 0,
        data_root: str | None = None,
        tokens: int = 600_000,
        shared: Literal["pair", "elsewhere"] = "pair",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if tokens < 1:
            raise UserError(f"data.tokens is {tokens}; it must be at least 1")
        if shared not in ("pair", "elsewhere"):
            raise UserError(f"data.shared is {shared!r}; it must be 'pair' or 'elsewhere'")
        self.tokens, self.shared = tokens, shared

    def build(self) -> None:
        pair = torch.arange(_COUNT)
        relation, base = pair // PAIRS, torch.stack([pair, pair])
        if self.shared == "elsewhere":
            base[1] = base[1].roll(PAIRS)
        names = [f"r{r}p{p}" for r, p in zip(relation.tolist(), (pair % PAIRS).tolist(), strict=True)]
        self.vocabulary = [f"{name}{side}" for side in "ab" for name in names] + [f"c{c}" for c in range(CONTEXTS)]
        ends = torch.stack([pair, pair + _COUNT], dim=1)
        by_relation = dict(zip(map(str, range(_COUNT // PAIRS)), ends.split(PAIRS), strict=True))
        test = list(by_relation)[: RELATIONS["test"]]
        self.relations = {
            "val": {name: pairs for name, pairs in by_relation.items() if name not in test},
            "test": {name: by_relation[name] for name in test},
        }
        word, context = self._drawn(base.flatten(), torch.cat([2 * relation, 2 * relation + 1]))
        self.word, self.context = word, context + 2 * _COUNT
        self.counts = torch.cat([self.word, self.context]).bincount(minlength=len(self.vocabulary))

    def _drawn(self, base: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """The word of each token and the number of its context, both int64 (tokens,)."""
        often = (1.0 + uniform(torch.arange(2 * _COUNT), 1, _RANKS).flatten().argsort().argsort()).pow(-ZIPF).double()
        tokens = torch.arange(self.tokens)
        of_word, of_part, of_context = uniform(tokens, 3, _TOKENS, self.seed).double().T.contiguous()
        word = torch.searchsorted(often.cumsum(dim=0) / often.sum(), of_word, right=True).clamp(max=2 * _COUNT - 1)
        kinds = (_BASES, _COUNT), (_SIDES, 2 * _COUNT // PAIRS), (_ANYWHERE, 1)
        topics = torch.cat([SHARP * normal(torch.arange(count), CONTEXTS, kind).double() for kind, count in kinds])
        topic = torch.where(of_part < ATTRIBUTE, _COUNT + side[word], base[word])
        topic = topic.where(of_part < 1 - NOISE, len(topics) - 1)
        # All topics one after the other on one line, of length 1 each.
        steps = (topics.softmax(dim=1).cumsum(dim=1) + torch.arange(len(topics))[:, None]).flatten()
        context = torch.searchsorted(steps, topic + of_context, right=True)
        # A topic's last step may be below or above its end by rounding.
        return word, (context - topic * CONTEXTS).clamp(0, CONTEXTS - 1)

    def cooccurrences(self) -> csr_array:
        """Of the words alone: those of contexts would be the same directions once more."""
        self.setup()
        one_way = WordPairs(self.word, self.context, torch.arange(self.tokens))
        return counted(one_way, len(self.vocabulary))[:, 2 * _COUNT :]

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(Rows(torch.arange(self.tokens)), self._both_orders).loader(self.batch_size, self.seed)

    def _both_orders(self, rows: Rows, seed: int, epoch: int) -> WordPairs:
        word, context = self.word[rows.index], self.context[rows.index]
        ends = torch.cat([word, context]), torch.cat([context, word])
        return WordPairs(*ends, torch.cat([2 * rows.index, 2 * rows.index + 1]))

    def example(self) -> str:
        self.setup()
        said = zip(self.word[:8].tolist(), self.context[:8].tolist(), strict=True)
        return "\n".join(f"{self.vocabulary[word]} {self.vocabulary[context]}" for word, context in said)

    def fingerprint(self) -> str:
        """Of what fixes the tokens on every machine but for rounding: the draws and the arguments."""
        settings = (1, self.tokens, self.shared, RELATIONS, PAIRS, CONTEXTS, SHARP, ATTRIBUTE, NOISE, ZIPF)
        draws = [uniform(torch.arange(3), 3, key).tolist() for key in (_BASES, _SIDES, _ANYWHERE, _RANKS, _TOKENS)]
        return digest((settings, draws))
