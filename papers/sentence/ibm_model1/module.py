"""IBM model 1 (Brown et al. 1993): which word comes from which, counted by expectation-maximization."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.batches import ParallelWords
from common.encoders.word_index import WordIndex
from common.errors import UserError
from common.evaluation.alignment import Links, grow_links
from common.training.method import Method

EMPTY = 0
"""The row of the empty word, which takes the place of padding: words that nothing gave rise to come from it."""


def numbers_of(words: Sequence[int]) -> Tensor:
    """As integers, of a sentence without a word too."""
    return torch.tensor(words, dtype=torch.int64)


class TranslationTable(nn.Module):
    """t(word | origin): how likely a word of one language is to come from a word of the other.

    Only pairs that stand in some training sentences together are kept.

    Args:
        empty: whether each sentence has the empty word among its origins.
    """

    def __init__(self, empty: bool) -> None:
        super().__init__()
        self.empty = empty
        self.register_buffer("pairs", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("chances", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("words", torch.tensor(1))

    def fit(self, sentences: Iterable[tuple[Sequence[int], Sequence[int]]], words: int, steps: int) -> None:
        """Expectation-maximization from equal chances; sentences are (origins, words) by numbers, all below `words`."""
        cells, places, count = [], [], 0
        for origins, found in sentences:
            cells.append((self.origins(origins)[:, None] * words + numbers_of(found)).flatten())
            places.append((count + torch.arange(len(found))).expand(len(cells[-1]) // max(1, len(found)), -1).flatten())
            count += len(found)
        self.words.fill_(words)
        self.pairs, cell = torch.cat(cells).unique(return_inverse=True)
        place, origin = torch.cat(places), self.pairs // words
        self.chances = torch.ones(len(self.pairs), dtype=torch.float64)
        for _ in range(steps):
            share = self.chances[cell]
            share = share / torch.zeros(count, dtype=share.dtype).index_add_(0, place, share)[place]
            counts = torch.zeros_like(self.chances).index_add_(0, cell, share)
            total = torch.zeros(int(origin.max()) + 1, dtype=share.dtype).index_add_(0, origin, counts)
            self.chances = counts / total[origin]

    def origins(self, numbers: Sequence[int]) -> Tensor:
        return numbers_of([*([EMPTY] if self.empty else []), *numbers])

    def posterior(self, origins: Sequence[int], words: Sequence[int]) -> Tensor:
        """How likely each word comes from each origin, (n, m); all 0 for a word that is rather from the empty one."""
        cells = self.origins(origins)[:, None] * self.words + numbers_of(words)
        at = torch.searchsorted(self.pairs, cells).clamp(max=len(self.pairs) - 1)
        found = self.chances[at] * (self.pairs[at] == cells)
        found = found / found.sum(0).clamp(min=1e-300)
        if not self.empty:
            return found
        return found[1:] * (found[1:] >= found[0]).any(0)


class IBMModel1(Method):
    """Counts both directions and joins their links by `grow_links`; nothing is trained by gradient.

    The recipe says `max_steps: 0`, and the counting is done when a fit begins.

    Args:
        steps: of expectation-maximization.
        empty: whether words may come from an empty word, as in the original.
        optimization: the arguments of `Method`, which have nothing to do here.

    Raises:
        UserError: there is not one step.
    """

    def __init__(self, *, steps: int = 5, empty: bool = True, **optimization) -> None:
        super().__init__(**optimization)
        if steps < 1:
            raise UserError(f"model.steps is {steps}; it must be at least 1")
        self.steps = steps
        self.indices = WordIndex(), WordIndex()
        self.tables = nn.ModuleList(TranslationTable(empty) for _ in range(2))

    def training_step(self, batch: ParallelWords, batch_idx: int) -> Tensor:
        raise UserError("IBMModel1 counts and trains nothing; trainer.max_steps must be 0")

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.count([*self.trainer.datamodule.parallel()])

    def count(self, sentences: list[tuple[list[str], list[str]]]) -> None:
        """Learns both tables from sentences and their translations."""
        for index, side in zip(self.indices, zip(*sentences, strict=True), strict=True):
            index.learn(side)
        numbers = [self.numbers(*pair) for pair in sentences]
        self.tables[0].fit(numbers, len(self.indices[1]), self.steps)
        self.tables[1].fit([(target, source) for source, target in numbers], len(self.indices[0]), self.steps)

    def numbers(self, *sides: list[str]) -> list[list[int]]:
        return [index.ids([side], len(side))[0].tolist() for index, side in zip(self.indices, sides, strict=True)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["words"] = [index.words for index in self.indices]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for index, words in zip(self.indices, checkpoint["words"], strict=True):
            index.words = words
        for name, buffer in checkpoint["state_dict"].items():
            _, side, kind = name.split(".")
            setattr(self.tables[int(side)], kind, torch.empty_like(buffer))

    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[Links]:
        found = []
        for pair in zip(source, target, strict=True):
            left, right = self.numbers(*pair)
            by_target, by_source = self.tables[0].posterior(left, right), self.tables[1].posterior(right, left).T
            found.append(grow_links(by_source, by_target))
        return found
