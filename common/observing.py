"""Lets something look at the embeddings that a loss compares, without the loss or its method knowing of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

Observer = Callable[[Tensor, Tensor, float | Tensor], None]
"""Called with a query (m, d), a key (n, d) and the scale of their scores, as the loss has them; not to be changed."""

_observer: Observer | None = None


def compared(query: Tensor, key: Tensor, scale: float | Tensor = 1.0) -> None:
    """To be called by what compares embeddings; does nothing while nothing looks.

    Args:
        query: (m, d); row i belongs with row i of the keys, where there are as many.
        key: (n, d); the same tensor as the query where a set is compared with itself.
        scale: 1 / temperature: a number, a 0-d tensor or one for each query.
    """
    if _observer is not None:
        _observer(query, key, scale)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Within it, `observer` sees all that losses compare; one at a time, and the one before comes back in the end."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before
