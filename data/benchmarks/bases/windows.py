"""A text as word2vec reads it: windows around its words, of which the frequent are thinned out."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array

from common.batches import WordPairs
from common.benchmark import digest
from common.checks import check_number
from common.errors import UserError
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.benchmarks.bases.analogies import Analogies

LEAST = 8
"""Relations of fewer pairs within the vocabulary are not scored: shuffles of so few are much alike."""
_KEPT, _REACH = 68, 69


class WindowedText(Analogies):
    """Pairs of words at most `window` apart on a line; every fourth relation is for validation, the others for test.

    How far a window reaches is drawn from 1 to `window` for each word and epoch, so that near words count more. Of a
    word that has a share f of the text, sqrt(s / f) + s / f is kept, s being `sample`; what is left out is drawn by the
    seed, once for all epochs, and does not count as a place. Pairs of a relation with a word outside the vocabulary are
    not scored.

    Args:
        batch_size: words to set a window around; each is in about `window` + 1 pairs.
        seed, data_root: as in `Benchmark`.
        min_count: rarer words are left out.
        window: the farthest place.
        sample: s; None keeps all words.

    Raises:
        UserError: an argument is out of range; two relations at least must be left to be scored.
    """

    def __init__(
        self,
        batch_size: int = 1024,
        seed: int = 0,
        data_root: str | None = None,
        min_count: int = 50,
        window: int = 5,
        sample: float | None = 1e-3,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        check_number("data.min_count", min_count, least=1)
        check_number("data.window", window, least=1)
        check_number("data.sample", sample, above=0)
        self.min_count, self.window, self.sample = min_count, window, sample

    @abstractmethod
    def lines(self) -> Iterable[Sequence[str]]:
        """The words of each line; it is read twice."""

    @abstractmethod
    def asked(self) -> dict[str, list[tuple[str, str]]]:
        """The pairs of each relation."""

    def build(self) -> None:
        counts = Counter(word for line in self.lines() for word in line)
        self.vocabulary = sorted((w for w, c in counts.items() if c >= self.min_count), key=lambda w: (-counts[w], w))
        number = {word: at for at, word in enumerate(self.vocabulary)}
        self.counts = torch.tensor([counts[word] for word in self.vocabulary])
        found = [[number[word] for word in line if word in number] for line in self.lines()]
        tokens = torch.tensor([word for line in found for word in line])
        of_line = torch.arange(len(found)).repeat_interleave(torch.tensor([len(line) for line in found]))
        if self.sample is not None:
            share = self.sample * self.counts.sum() / self.counts.double()
            kept = uniform(torch.arange(len(tokens)), 1, _KEPT, self.seed).flatten() < (share.sqrt() + share)[tokens]
            tokens, of_line = tokens[kept], of_line[kept]
        self.tokens, self.of_line = tokens, of_line
        known = {
            name: [(number[a], number[b]) for a, b in pairs if a in number and b in number]
            for name, pairs in self.asked().items()
        }
        scored = {name: torch.tensor(pairs) for name, pairs in known.items() if len(pairs) >= LEAST}
        val = list(scored)[1::4]
        if not val:
            raise UserError(f"{self.name} has {len(scored)} relations with {LEAST} pairs in its vocabulary; it needs 2")
        self.relations = {
            "val": {name: scored[name] for name in val},
            "test": {name: pairs for name, pairs in scored.items() if name not in val},
        }

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(Rows(torch.arange(len(self.tokens))), self.windows).loader(self.batch_size, self.seed)

    def windows(self, rows: Rows, seed: int, epoch: int) -> WordPairs:
        """The pairs of some places of the text, each the centre of a window."""
        at, width = rows.index, self.window
        reach = 1 + (uniform(at, 1, _REACH, seed, epoch) * width).long()
        steps = torch.cat([torch.arange(-width, 0), torch.arange(1, width + 1)])
        beside = at[:, None] + steps
        there = beside.clamp(0, len(self.tokens) - 1)
        near = (there == beside) & (self.of_line[there] == self.of_line[at, None]) & (steps.abs() <= reach)
        ids = at[:, None] * len(steps) + torch.arange(len(steps))
        centre = self.tokens[at, None].expand(-1, len(steps))
        return WordPairs(self.tokens[there][near], centre[near], ids[near])

    def cooccurrences(self) -> csr_array:
        """Expected over how far windows reach."""
        self.setup()
        words = len(self.vocabulary)
        total = csr_array((words, words))
        for step in range(1, self.window + 1):
            beside = self.of_line[step:] == self.of_line[:-step]
            ends = self.tokens[:-step][beside].numpy(), self.tokens[step:][beside].numpy()
            weight = np.full(len(ends[0]), (self.window - step + 1) / self.window)
            total = total + csr_array((weight, ends), shape=(words, words))
        return total + total.T

    def example(self) -> str:
        self.setup()
        name, pairs = next(iter(self.relations["test"].items()))
        said = " ".join(self.vocabulary[word] for word in self.tokens[:12].tolist())
        return f"{said}\n{name}: " + ", ".join(
            f"{self.vocabulary[a]} {self.vocabulary[b]}" for a, b in pairs[:3].tolist()
        )

    def fingerprint(self) -> str:
        self.setup()
        settings = (1, self.window, self.sample, self.vocabulary, {k: list(v) for k, v in self.relations.items()})
        scored = [pairs for relations in self.relations.values() for pairs in relations.values()]
        return digest(settings, self.counts, *scored)
