"""Whether clusters that are found without labels are the ones that are known."""

import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_ids
from common.errors import UserError
from common.evaluation.scoring import embeddings, finite, scoring


@scoring()
def kmeans_ari(rows: Tensor, labels: Tensor) -> float:
    """The adjusted Rand index of the classes and as many clusters of the normalized rows: 1 at best, 0 by chance.

    The best of ten runs of k-means, from fixed starts.

    Args:
        rows: shape (n, d).
        labels: shape (n,).

    Raises:
        UserError: embeddings are not finite, or labels do not fit them.
    """
    rows = F.normalize(embeddings("rows", rows), dim=1).cpu()
    check_ids("labels", labels, len(rows))
    found = KMeans(len(labels.unique()), n_init=10, random_state=0).fit_predict(rows.numpy())
    return float(adjusted_rand_score(labels.cpu().numpy(), found))


def spectral_embedding(adjacency: Tensor, dim: int) -> Tensor:
    """The leading eigenvectors of D^(-1/2) A D^(-1/2), D the degrees: nodes of a block get nearly one direction.

    With `kmeans_ari`, which normalizes the rows, it is the spectral clustering of Ng, Jordan and Weiss (2002).

    Args:
        adjacency: A, weights of the edges, at least 0 and symmetric, (n, n).
        dim: number of eigenvectors, at most n.

    Returns:
        float32 of shape (n, dim); zeros for a node without an edge where another has some.

    Raises:
        UserError: the matrix is not symmetric, or `dim` is out of range.
    """
    finite("weights of edges", adjacency)
    if adjacency.ndim != 2 or not adjacency.equal(adjacency.T) or bool((adjacency < 0).any()):
        raise UserError(f"adjacency {tuple(adjacency.shape)}: expected a symmetric matrix, (n, n), of weights >= 0")
    if not 1 <= dim <= len(adjacency):
        raise UserError(f"dim is {dim}; it must be from 1 to {len(adjacency)}, the number of nodes")
    scale = adjacency.sum(dim=1).clamp(min=1e-12).rsqrt()
    return torch.linalg.eigh((scale[:, None] * adjacency * scale).double()).eigenvectors[:, -dim:].float()
