"""What embeddings tell of a quantity, such as an angle: its value, by a ridge regression, and which two are near."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.classes import standardized
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, finite, scoring
from common.evaluation.similarity import spearman

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""On the sum of squared weights, beside the sum of squared errors over the rows; validation chooses."""

Measured = tuple[Tensor, Tensor]
"""Embeddings, (n, d), and the quantity of each, (n,)."""


@scoring()
def ridge_regression_metrics(train: Measured, val: Measured, test: Measured) -> Metrics:
    """A ridge regression from standardized embeddings, solved in float64; the intercept is not penalized.

    Args:
        train: what it is fitted on.
        val: what chooses the penalty, by the mean absolute error.
        test: what it is asked.

    Returns:
        `mae`, the mean absolute error in the quantity's unit, the lower the better; `r2`, the share of the variance of
        the test quantities that is told, below 0 where their mean tells more; `spearman`, the rank correlation of said
        and true. All are means over the test rows.

    Raises:
        UserError: embeddings or quantities are not finite, do not fit, or do not vary.
    """
    (rows, y), (val_rows, val_y), (test_rows, truth) = (
        _checked(name, *part) for name, part in (("train", train), ("val", val), ("test", test))
    )
    rows, val_rows, test_rows = standardized(rows, val_rows, test_rows)
    base = y.mean()
    # One decomposition serves all penalties.
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    inner = vectors.T @ (rows.T @ (y - base))
    weights = torch.stack([vectors @ (inner / (values.clamp(min=0) + penalty)) for penalty in PENALTIES], dim=1)
    errors = (val_rows @ weights + base - val_y[:, None]).abs().mean(dim=0)
    return _compared(test_rows @ weights[:, errors.argmin()] + base, truth)


@scoring()
def regression_metrics(said: Tensor, truth: Tensor) -> Metrics:
    """What a module says of a quantity by itself, without a probe.

    Args:
        said: shape (n,).
        truth: shape (n,).

    Returns:
        As `ridge_regression_metrics`.

    Raises:
        UserError: the numbers are not finite, do not fit, or the truth does not vary.
    """
    if said.ndim != 1:
        raise UserError(f"quantities that are said {tuple(said.shape)}: expected (n,), one for each row")
    rows, truth = _checked("test", said[:, None], truth)
    return _compared(rows[:, 0], truth)


@scoring()
def distance_correlation(rows: Tensor, quantity: Tensor, partners: Tensor) -> Mean:
    """Whether rows of near quantities are near: the rank correlation of 1 - cosine and difference of quantity.

    Args:
        rows: shape (n, d).
        quantity: shape (n,).
        partners: the row that each is compared with, int64 of shape (n,).

    Returns:
        In [-1, 1]; an item is a pair.
    """
    rows, quantity = _checked("test", rows, quantity)
    rows = F.normalize(rows, dim=1)
    apart = 1 - (rows * rows[partners]).sum(dim=1)
    return spearman(apart, (quantity - quantity[partners]).abs())


def _compared(said: Tensor, truth: Tensor) -> Metrics:
    error = said - truth
    return {
        "mae": Mean(error.abs()),
        "r2": Mean(1 - error.square() / truth.var(correction=0)),
        "spearman": spearman(said, truth),
    }


def _checked(name: str, rows: Tensor, quantity: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, on the processor of the rows."""
    rows = embeddings(name, rows)
    if quantity.shape != rows.shape[:1]:
        raise UserError(f"{name} quantities {tuple(quantity.shape)}: expected ({len(rows)},), one for each row")
    if (finite(f"{name} quantities", quantity) == quantity[0]).all():
        raise UserError(f"all {len(rows)} {name} quantities are {float(quantity[0]):g}; nothing can be told of them")
    return rows.double(), quantity.to(rows.device).double()
