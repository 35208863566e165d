"""The shape of an embedding space."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.checks import check_ids
from common.distributed import Exchange
from common.errors import UserError
from common.evaluation.means import Mean, average
from common.evaluation.scoring import embeddings, scoring
from common.losses import uniformity


@scoring()
def geometry_metrics(x: Tensor, y: Tensor) -> Metrics:
    """How close the pairs are, how evenly the sphere is used, and how far apart the two sides lie.

    Args:
        x: one side of the positive pairs, such as the first views or the texts, shape (n, d); normalized here.
        y: the other side, shape (n, d). Under torch.distributed every process passes all rows.

    Returns:
        `alignment` (alpha 2, the mean over the pairs) and `uniformity` (t 2, mean of both sides, with an item for each
        pair as in `uniformity_metric`), the lower the better (Wang and Isola 2020); `modality_gap`; `effective_rank` of
        all rows of both sides.

    Raises:
        UserError: embeddings are not finite, or the sides differ in shape.
    """
    x, y = (F.normalize(embeddings(name, side), dim=1) for name, side in (("x", x), ("y", y)))
    if x.shape != y.shape:
        raise UserError(f"pairs of {tuple(x.shape)} and {tuple(y.shape)}: expected one shape")
    # Every process holds all rows already; exchanging them would count each pair several times.
    spread = [float(uniformity(side, exchange=Exchange.LOCAL)) for side in (x, y)]
    influence = average([uniformity_metric(side) for side in (x, y)])
    assert isinstance(influence, Mean)
    return {
        "alignment": Mean((x - y).square().sum(dim=1)),
        "uniformity": Mean(influence.items, sum(spread) / 2),
        "modality_gap": modality_gap(x, y),
        "effective_rank": effective_rank(torch.cat([x, y])),
    }


@scoring()
def uniformity_metric(x: Tensor) -> Mean:
    """How evenly the rows use the sphere: log of the mean of exp(-2 |x_i - x_j|^2) over all pairs; lower is better.

    Args:
        x: shape (n, d), n at least 2, normalized here. Under torch.distributed every process passes all rows.

    Returns:
        `common.losses.uniformity` at t 2. Item i is that value moved by the row's influence on it, so that the spread
        of the items gives the standard error of a mean over pairs (Hoeffding 1948).
    """
    x = F.normalize(embeddings("x", x), dim=1)
    of_row = torch.cat([((rows @ x.T - 1) * 4).exp().double().sum(dim=1) - 1 for rows in x.split(1024)]) / (len(x) - 1)
    mean = of_row.mean()
    return Mean(mean.log() + 2 * (of_row - mean) / mean)


@scoring()
def tolerance(x: Tensor, labels: Tensor) -> Mean:
    """How close rows of one class stand: the mean cosine of all pairs of two different rows of one class.

    Args:
        x: shape (n, d), normalized here.
        labels: shape (n,), some class of them occurring twice.

    Returns:
        In [-1, 1]. Item i is that value moved by the row's influence on it, as in `uniformity_metric`; a row that is
        alone in its class has none.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or no two rows are of one class.

    Source: Wang and Liu 2021, eq. 11, whose tables show it as a mean over the pairs of one class.
    """
    x = F.normalize(embeddings("x", x), dim=1).double()
    check_ids("labels", labels, len(x))
    _, kind, size = labels.to(x.device).unique(return_inverse=True, return_counts=True)
    sums = x.new_zeros(len(size), x.shape[1]).index_add(0, kind, x)
    partners = size[kind] - 1
    if not bool((partners > 0).any()):
        raise UserError(f"tolerance of {len(x)} rows of as many classes: expected two of one class at least")
    of_row = (x * sums[kind]).sum(dim=1) - x.square().sum(dim=1)
    value = of_row.sum() / partners.sum()
    return Mean(value + 2 * (of_row - value * partners) / partners.double().mean(), float(value))


@scoring()
def modality_gap(x: Tensor, y: Tensor) -> float:
    """Distance between the centres of two modalities on the unit sphere, in [0, 2] (Liang et al. 2022, section 2).

    Args:
        x: shape (n, d), normalized here.
        y: shape (m, d).

    Returns:
        Of as many rows a `Mean`, row i of both being a pair: its item is the part of x_i - y_i along the line between
        the centres.
    """
    x, y = (F.normalize(embeddings(name, side), dim=1) for name, side in (("x", x), ("y", y)))
    apart = x.mean(0) - y.mean(0)
    gap = float(apart.norm())
    return Mean((x - y) @ F.normalize(apart, dim=0), gap) if len(x) == len(y) else gap


@scoring()
def linear_separability(x: Tensor, y: Tensor, *, seed: int = 0) -> Mean:
    """How surely a hyperplane tells from which of two modalities a row is: 0.5 for clouds that mingle, 1 for apart.

    The accuracy of scikit-learn's logistic regression, as it is by default, fitted on 80% of the pairs. A pair is on
    one side of the split as a whole. Two clouds may be near and yet apart, which `modality_gap` does not see.

    Args:
        x: one side of the pairs, shape (n, d), n at least 5, normalized here.
        y: the other side, shape (n, d).
        seed: fixes the split.

    Returns:
        The mean over the held-out pairs.

    Raises:
        UserError: embeddings are not finite, the sides differ in shape, or the pairs are too few.

    Source: Fahim et al. 2024, as in their code.
    """
    x, y = (F.normalize(embeddings(name, side), dim=1).cpu() for name, side in (("x", x), ("y", y)))
    if x.shape != y.shape or len(x) < 5:
        raise UserError(f"pairs of {tuple(x.shape)} and {tuple(y.shape)}: expected one shape, and 5 pairs at least")
    order = np.random.default_rng(seed).permutation(len(x))
    fitted, asked = np.split(order, [round(0.8 * len(x))])
    side = LogisticRegression()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 iterations are the default, and so the protocol
        side.fit(torch.cat([x[fitted], y[fitted]]).numpy(), np.repeat([0, 1], len(fitted)))
    right = [side.predict(rows[asked].numpy()) == number for number, rows in enumerate((x, y))]
    return Mean(torch.from_numpy(np.mean(right, axis=0)))


@scoring()
def effective_rank(x: Tensor) -> float:
    """How many directions the rows really use, in [1, min(n, d)] (Roy and Vetterli 2007, definition 1).

    The exponential of the entropy of the singular values, taken as a distribution. Rows are not centred, as in the
    paper; subtract the mean before for the rank of the spread. All-zero rows have rank 0.

    Args:
        x: shape (n, d).
    """
    # Singular values by way of the (d, d) Gram matrix would lose half the digits; the thin SVD is as small.
    values = torch.linalg.svdvals(embeddings("x", x).double())
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if total > 0 else 0.0
