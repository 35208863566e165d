"""What a benchmark may ask of a method.

A method embeds; a benchmark scores. Any method with `embed_text` can stand on any text benchmark, and the same function
serves while training and after loading a checkpoint. Rows are returned as the method would compare them by cosine;
benchmarks normalize, so methods need not.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class EmbedsText(Protocol):
    def embed_text(self, texts: list[str]) -> Tensor:
        """Returns one row per text, shape (n, d)."""
        ...


@runtime_checkable
class EmbedsImage(Protocol):
    def embed_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns one row per image, shape (n, d)."""
        ...


@runtime_checkable
class ClassifiesImage(Protocol):
    def classify_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns class scores, shape (n, classes)."""
        ...


@runtime_checkable
class FillsBlanks(Protocol):
    def masked_accuracy(self, texts: Sequence[str]) -> float:
        """Returns the share of masked tokens of `texts` that are predicted right; the masks are the same each call."""
        ...
