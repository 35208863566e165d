"""Batches of vectors, of numbers, and of items that nothing is known of."""

from typing import NamedTuple

from torch import Tensor

from common.errors import UserError


class LabelledVectors(NamedTuple):
    """Views of `n` vectors with what is known of them."""

    views: Tensor
    """Shape (views, n, d)."""
    labels: Tensor
    """The classes that a method may use, int64 of shape (n,); -1 where there are none."""
    ids: Tensor
    """Global sample id of each vector, shape (n,)."""

    def pair(self) -> tuple[Tensor, Tensor]:
        """The first two views, each (n, d).

        Raises:
            UserError: there is one view.
        """
        if len(self.views) < 2:
            raise UserError(f"there is {len(self.views)} view of each vector; this method compares two")
        return self.views[0], self.views[1]


class NumberQuestions(NamedTuple):
    """`n` questions that are numbers and whose answer is one."""

    given: Tensor
    """The numbers of the question, int64 of shape (n, g)."""
    answer: Tensor
    """int64 of shape (n,)."""
    ids: Tensor
    """Global id of each question, shape (n,)."""


class Items(NamedTuple):
    """`n` items of which there is nothing to see: a method knows them by their numbers."""

    ids: Tensor
    """Numbers from 0, int64 of shape (n,)."""
