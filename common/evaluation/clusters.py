"""Whether clusters that are found without labels are the ones that are known."""

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_ids
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, finite, scoring


def adjusted_rand(labels: Tensor, clusters: Tensor) -> Mean:
    """The adjusted Rand index of two partitions (Hubert and Arabie 1985): 1 where they are one, 0 by chance.

    Args:
        labels, clusters: a number for each sample, any integers, shape (n,).

    Returns:
        An index of pairs; item i is n times it less n - 1 times that of the other samples, as the jackknife has it, so
        that the spread of the items gives the standard error over samples. The partitions are not found anew without i.

    Raises:
        UserError: the partitions do not fit each other.
    """
    check_ids("labels", labels, len(labels))
    check_ids("clusters", clusters, len(labels))
    one, other = (x.cpu().unique(return_inverse=True)[1] for x in (labels, clusters))
    table = torch.zeros(int(one.max()) + 1, int(other.max()) + 1, dtype=torch.float64)
    table.index_put_((one, other), torch.ones(len(one), dtype=torch.float64), accumulate=True)
    sizes = table, table.sum(dim=1), table.sum(dim=0)
    own = table[one, other], sizes[1][one], sizes[2][other]
    pairs = [(size * (size - 1)).sum() / 2 for size in sizes]
    n = len(one)
    whole = _index(pairs, n)
    # Without a sample a group has as many pairs less as it has other samples.
    without = _index([every - (size - 1) for every, size in zip(pairs, own, strict=True)], n - 1)
    return Mean(n * whole - (n - 1) * without, float(whole))


def _index(pairs: list[Tensor], n: int) -> Tensor:
    """Of n samples, from the numbers of pairs that are together in both partitions and in each; 1 where that is all."""
    both, one, other = pairs
    chance = one * other / max(1, n * (n - 1) / 2)
    room = (one + other) / 2 - chance
    return ((both - chance) / room).masked_fill(room == 0, 1.0)


@scoring()
def kmeans_ari(rows: Tensor, labels: Tensor) -> Mean:
    """The adjusted Rand index of the classes and as many clusters of the normalized rows: 1 at best, 0 by chance.

    The best of ten runs of k-means, from fixed starts.

    Args:
        rows: shape (n, d).
        labels: shape (n,).

    Returns:
        `adjusted_rand`, whose items are the rows.

    Raises:
        UserError: embeddings are not finite, or labels do not fit them.
    """
    rows = F.normalize(embeddings("rows", rows), dim=1).cpu()
    check_ids("labels", labels, len(rows))
    found = KMeans(len(labels.unique()), n_init=10, random_state=0).fit_predict(rows.numpy())
    return adjusted_rand(labels, torch.from_numpy(found))


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
