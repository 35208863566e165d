"""What everything is scored in: float32 outside of autocast, finite, and equal scores for equal vectors."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from common.errors import UserError


@contextmanager
def scoring() -> Iterator[None]:
    """Within it nothing is differentiated and products are float32, whatever a model trains in; also a decorator.

    What trains in bf16-mixed is validated under autocast, where scores of three digits would tie by the dozen.
    """
    precision = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if precision != "highest":  # TF32 has three digits too.
            stack.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")
        yield


def finite(what: str, x: Tensor) -> Tensor:
    """The values as they are. Comparisons with NaN are false, which would put every right answer in the first place.

    Raises:
        UserError: a value is NaN or infinite.
    """
    if not x.isfinite().all():
        raise UserError(f"{what} hold NaN or infinite values; they cannot be ranked")
    return x


def embeddings(name: str, x: Tensor) -> Tensor:
    """Rows of any precision as float32, finite.

    Args:
        name: which side, for the message: "query" or "image".
        x: shape (n, d), n at least 1.

    Raises:
        UserError: another shape, or a value that is NaN or infinite in float32.
    """
    if x.ndim != 2 or not len(x):
        raise UserError(f"{name} embeddings {tuple(x.shape)}: expected (n, d), n at least 1")
    return finite(f"{name} embeddings", x.float())


class Products:
    """Dot products with one gallery, some queries at a time, equal wherever two keys are.

    A matrix product sums in another order at the edge of a tile, or for a single query, so the scores of equal keys may
    differ in the last digit and what ties would break by chance. Here the first of them is scored for all.

    Args:
        query: shape (n, d).
        key: shape (m, d), of the same floating type.

    Raises:
        UserError: the widths differ, or a product may overflow.
    """

    def __init__(self, query: Tensor, key: Tensor) -> None:
        if query.shape[1] != key.shape[1]:
            raise UserError(f"embeddings {tuple(query.shape)} and {tuple(key.shape)}: expected vectors of one width")
        largest = float(query.abs().amax()) * float(key.abs().amax()) * query.shape[1]
        if not largest < torch.finfo(key.dtype).max:
            raise UserError(f"embeddings with values that large have infinite products (up to {largest:g})")
        self.query, self.key = query, key
        self.copies, self.originals = _copies(key)

    def __call__(self, rows: slice = slice(None), out: Tensor | None = None) -> Tensor:
        """The products of these queries with all keys, (rows, m); written to `out` where that is given."""
        scores = torch.mm(self.query[rows], self.key.T, out=out)
        if len(self.copies):
            scores[:, self.copies] = scores[:, self.originals]
        return scores


def products(query: Tensor, key: Tensor) -> Tensor:
    """All of `Products` at once, (n, m)."""
    return Products(query, key)()


def _copies(x: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that equal an earlier one, and for each the first row that it equals."""
    whole = torch.int32 if x.dtype == torch.float32 else torch.int64
    draw = torch.Generator().manual_seed(0)
    factors = torch.randint(-(1 << 62), 1 << 62, (x.shape[1],), generator=draw).to(x.device)
    # Adding 0.0 makes -0.0 the other zero. Integers wrap, so a hash does not depend on the order of its sum.
    parts = [((part + 0.0).view(whole).long() * factors).sum(1) for part in x.split(4096)]
    ordered, order = torch.cat(parts).sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    first = order[begins][begins.cumsum(0) - 1]
    copies, originals = order[~begins], first[~begins]
    equal = torch.cat([(x[a] == x[b]).all(1) for a, b in zip(copies.split(4096), originals.split(4096), strict=True)])
    return copies[equal], originals[equal]
