"""Words to contrast with, drawn by how frequent they are."""

import torch
from torch import Tensor, nn

from common.checks import check_number
from common.errors import UserError
from common.random import uniform


class UnigramNoise(nn.Module):
    """The noise of word2vec (Mikolov et al. 2013): a word comes by its count to the power 3/4.

    Before anything is counted all words are alike.

    Args:
        words: of the vocabulary.
        power: 1 draws words as they are in the text, 0 all alike.

    Raises:
        UserError: there is no word, or the power is below 0.
    """

    def __init__(self, words: int, power: float = 0.75) -> None:
        super().__init__()
        check_number("power", power, least=0)
        if words < 1:
            raise UserError(f"model.words is {words}; it must be at least 1")
        self.power = power
        self.register_buffer("steps", torch.arange(1, words + 1, dtype=torch.float64) / words)

    def count(self, counts: Tensor) -> None:
        """Takes the counts of all words, (words,); one that is 0 is never drawn.

        Raises:
            UserError: there are more or fewer counts than words.
        """
        if len(counts) != len(self.steps):
            raise UserError(f"model.words is {len(self.steps)}; it must be that of the data, {len(counts)}")
        cumulated = counts.to(self.steps).pow(self.power).where(counts.to(self.steps.device) > 0, 0).cumsum(dim=0)
        self.steps = cumulated / cumulated[-1]

    def shares(self) -> Tensor:
        """How likely each word is, float64 (words,)."""
        return self.steps.diff(prepend=self.steps.new_zeros(1))

    def draw(self, ids: Tensor, k: int, *key: int) -> Tensor:
        """`k` words for each sample, int64 (n, k): the same on any number of processes, see `common.random.uniform`."""
        # In steps of 2^-24, so that a word of a smaller share may never come.
        at = uniform(ids, k, *key).double()
        return torch.searchsorted(self.steps, at, right=True).clamp(max=len(self.steps) - 1)
