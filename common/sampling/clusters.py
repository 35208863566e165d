"""Groups of vectors that point the same way."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_number
from common.distributed import gather, shards
from common.errors import UserError
from common.evaluation.scoring import embeddings, scoring
from common.random import uniform


@scoring()
def cosine_clusters(rows: Tensor, count: int, *key: int, iterations: int = 20) -> Tensor:
    """k-means by the cosine, started from rows drawn at random.

    Args:
        rows: shape (n, d).
        count: clusters, at most n.
        key: what the start depends on.
        iterations: at most so many; it stops when no row changes its cluster.

    Returns:
        The cluster of each row, int64 of shape (n,).

    Raises:
        UserError: rows are not finite, or there are fewer of them than clusters.
    """
    rows = F.normalize(embeddings("row", rows), dim=1)
    if not 1 <= count <= len(rows):
        raise UserError(f"{count} clusters of {len(rows)} rows: expected from 1 to the number of rows")
    check_number("iterations", iterations, least=1)
    start = uniform(torch.arange(len(rows), device=rows.device), 1, *key).flatten().argsort()[:count]
    centres, labels = rows[start], None
    for _ in range(iterations):
        nearest = (rows @ centres.T).argmax(1)
        if labels is not None and torch.equal(nearest, labels):
            break
        labels = nearest
        sums = torch.zeros_like(centres).index_add_(0, labels, rows)
        # A cluster without members stays where it is.
        centres = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), centres)
    return labels


def clusters_of_all(one: Tensor, other: Tensor, count: int, *key: int) -> tuple[Tensor, Tensor]:
    """The clusters of our vectors, found among those of both sides and all processes.

    Args:
        one, other: m vectors of each of our n samples, both (n, m, d).
        count: clusters.
        key: as in `cosine_clusters`.

    Returns:
        Two int64 tensors of shape (n, m).
    """
    n, m, _ = one.shape
    layout = shards(n, one.device)
    both = torch.cat([gather(side.detach(), layout).flatten(0, 1) for side in (one, other)])
    labels = cosine_clusters(both, count, *key).view(2, layout.total, m)
    return labels[0, layout.own], labels[1, layout.own]
