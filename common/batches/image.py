"""Batches of pictures, alone, in pairs or with captions."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from common.errors import UserError


class Images(NamedTuple):
    """Augmented views of `n` images."""

    views: Tensor
    """Float pixels in [0, 1], shape (views, n, channels, height, width)."""
    labels: Tensor
    """Class of each image, shape (n,)."""
    ids: Tensor
    """Global sample id of each image, shape (n,)."""
    targets: Tensor | None = None
    """A quantity of each image that is to be told, such as an angle, floats of shape (n,), where there is one; the
    labels are then the intervals of its range."""

    def measured(self) -> Tensor:
        """The targets, (n,).

        Raises:
            UserError: there are none.
        """
        if self.targets is None:
            raise UserError("this method tells a quantity of each picture, and the data names none")
        return self.targets

    def pair(self) -> tuple[Tensor, Tensor]:
        """The first two views, each (n, channels, height, width).

        Raises:
            UserError: there is one view.
        """
        if len(self.views) < 2:
            raise UserError(f"data.views is {len(self.views)}; this method compares views, and it must be at least 2")
        return self.views[0], self.views[1]


class CrossViews(NamedTuple):
    """`n` places, each seen in two ways: from the street and from above, or on two maps."""

    query: Tensor
    """Float pixels in [0, 1] of what is to be located, shape (n, channels, h, w)."""
    reference: Tensor
    """Float pixels in [0, 1] of the map's own view, shape (n, channels, height, width)."""
    coordinates: Tensor
    """Latitude and longitude in degrees, shape (n, 2)."""
    places: Tensor
    """Global number of the place, each once in a batch, int64, shape (n,)."""
    ids: Tensor
    """Global sample id of each pair, shape (n,)."""


class ImageText(NamedTuple):
    """`n` pictures with their captions."""

    views: Tensor
    """Float pixels in [0, 1] of each augmented view, shape (views, n, channels, height, width)."""
    texts: list[list[str]]
    """A list of n captions for each language that takes part; most methods have one."""
    ids: Tensor
    """Global sample id of each picture, shape (n,)."""
    text_ids: Tensor
    """Global id of what the captions say: rows with equal ids are positives of each other, shape (n,)."""
    local: Tensor | None = None
    """Views of another kind, such as small crops, where the data has them, shape (views, n, channels, h, w)."""
    text_views: Sequence[list[str]] = ()
    """Other captions of the pictures, n a view."""
    concepts: Tensor | None = None
    """Which concepts the captions tell of, bool of shape (n, k), where the data knows."""
    boxes: Tensor | None = None
    """Around what the captions tell of: left, top, right, bottom as shares of the side, floats of shape (n, k, 4)."""
    neighbours: Tensor | None = None
    """Ids of the pictures that each is linked with, -1 for none, int64 of shape (n, k); a column is a kind of link
    where there are several."""
    relations: Sequence[Sequence[str]] = ()
    """What each column of the neighbours is about, in one or more wordings, where the data has words for it."""
    sentences: Sequence[list[str]] = ()
    """Where the data has texts that mean the same beside the pictures, m of them in each of two wordings."""

    @property
    def pixels(self) -> Tensor:
        """The first view, shape (n, channels, height, width)."""
        return self.views[0]

    @property
    def text(self) -> list[str]:
        """The captions in the first language."""
        return self.texts[0]
