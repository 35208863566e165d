"""Whole words as rows of a table, the commonest first."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from common.errors import UserError

PAD, UNKNOWN = 0, 1


class WordIndex:
    """Numbers the words of a training set; row 0 is padding, row 1 a word that is not known.

    Args:
        rows: of the table, both included: words beyond the commonest `rows` - 2 share row 1. None has room for all.

    Raises:
        UserError: there is no row for a word.
    """

    def __init__(self, rows: int | None = None) -> None:
        if rows is not None and rows < 3:
            raise UserError(f"rows is {rows}; it must be at least 3: padding, unknown words and a word")
        self.rows = rows
        self.words = []

    @property
    def words(self) -> list[str]:
        """From row 2 on; plain strings, so that a checkpoint can hold them."""
        return self._words

    @words.setter
    def words(self, words: list[str]) -> None:
        self._words = words
        self._row = {word: row for row, word in enumerate(words, UNKNOWN + 1)}

    def __len__(self) -> int:
        """Rows in use."""
        return UNKNOWN + 1 + len(self._words)

    def learn(self, sentences: Iterable[Sequence[str]]) -> None:
        """Takes the commonest words; of equally common ones the first by spelling."""
        counts = Counter(chain.from_iterable(sentences))
        order = sorted(counts, key=lambda word: (-counts[word], word))
        self.words = order if self.rows is None else order[: self.rows - UNKNOWN - 1]

    def ids(self, sentences: Sequence[Sequence[str]], length: int) -> Tensor:
        """The rows of the first `length` words of each sentence, padded behind with 0, int64 of shape (n, length)."""
        found = torch.full((len(sentences), length), PAD)
        for line, words in zip(found, sentences, strict=True):
            rows = [self._row.get(word, UNKNOWN) for word in words[:length]]
            line[: len(rows)] = torch.tensor(rows, dtype=torch.int64)
        return found
