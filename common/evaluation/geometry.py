"""The shape of an embedding space."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.distributed import Exchange
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, scoring
from common.losses import uniformity


@scoring()
def geometry_metrics(x: Tensor, y: Tensor) -> Metrics:
    """How close the pairs are, how evenly the sphere is used, and how far apart the two sides lie.

    Args:
        x: one side of the positive pairs, such as the first views or the texts, shape (n, d); normalized here.
        y: the other side, shape (n, d). Under torch.distributed every process passes all rows.

    Returns:
        `alignment` (alpha 2, the mean over the pairs) and `uniformity` (t 2, mean of both sides), the lower the better
        (Wang and Isola 2020); `modality_gap`; `effective_rank` of all rows of both sides.

    Raises:
        UserError: embeddings are not finite, or the sides differ in shape.
    """
    x, y = (F.normalize(embeddings(name, side), dim=1) for name, side in (("x", x), ("y", y)))
    if x.shape != y.shape:
        raise UserError(f"pairs of {tuple(x.shape)} and {tuple(y.shape)}: expected one shape")
    # Every process holds all rows already; exchanging them would count each pair several times.
    spread = [float(uniformity(side, exchange=Exchange.LOCAL)) for side in (x, y)]
    return {
        "alignment": Mean((x - y).square().sum(dim=1)),
        "uniformity": sum(spread) / 2,
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
def modality_gap(x: Tensor, y: Tensor) -> float:
    """Distance between the centres of two modalities on the unit sphere, in [0, 2] (Liang et al. 2022, section 2).

    Args:
        x: shape (n, d), normalized here.
        y: shape (m, d).
    """
    x, y = (F.normalize(embeddings(name, side), dim=1) for name, side in (("x", x), ("y", y)))
    return float((x.mean(0) - y.mean(0)).norm())


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
