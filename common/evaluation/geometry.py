"""The shape of an embedding space. Alignment and uniformity, being losses too, stand in `common.losses`."""

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def modality_gap(x: Tensor, y: Tensor) -> float:
    """Distance between the centres of two modalities on the unit sphere, in [0, 2] (Liang et al. 2022, section 2).

    Args:
        x: shape (n, d), normalized here.
        y: shape (m, d).
    """
    return float((F.normalize(x, dim=1).mean(0) - F.normalize(y, dim=1).mean(0)).norm())


@torch.no_grad()
def effective_rank(x: Tensor) -> float:
    """How many directions the rows really use, in [1, min(n, d)] (Roy and Vetterli 2007, definition 1).

    The exponential of the entropy of the singular values, taken as a distribution. Rows are not centred, as in the
    paper; subtract the mean before for the rank of the spread. All-zero rows have rank 0.

    Args:
        x: shape (n, d).
    """
    # Singular values by way of the (d, d) Gram matrix would lose half the digits; the thin SVD is as small.
    values = torch.linalg.svdvals(x.double())
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if total > 0 else 0.0
