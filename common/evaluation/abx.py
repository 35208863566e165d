"""ABX discrimination: is X, of another voice, nearer to A, which is the same, than to B, which is not?"""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, products, scoring


@scoring()
def abx_accuracy(first: Tensor, second: Tensor) -> Mean:
    """The share of triples (A, B, X) that are judged right by the cosine; half a point for a tie.

    A and B are rows of `first`, X is a row of `second`; row i of both is the same thing. Each side is centred first:
    what all recordings of a voice share, the channel for one, does not count. Chance is 0.5; no classifier is fitted.

    Args:
        first: shape (n, d), n at least 2.
        second: shape (n, d).

    Returns:
        The mean over all n (n - 1) triples. Its items are the rows of `second`: each X, over all B.

    Raises:
        UserError: fewer than two rows, not as many on both sides, or embeddings are not finite.

    Source: Schatz et al. 2013, with one vector for each recording instead of a warped path of frames.
    """
    if len(first) != len(second) or len(first) < 2:
        raise UserError(f"ABX compares {len(first)} with {len(second)} things; as many on both sides, and two at least")
    sides = (embeddings(name, side).double() for name, side in (("first", first), ("second", second)))
    first, second = (F.normalize(side - side.mean(0), dim=1) for side in sides)
    similarity = products(second, first)
    right = similarity.diagonal()[:, None]
    points = (right > similarity).double() + 0.5 * (right == similarity).double()
    other = ~torch.eye(len(first), dtype=torch.bool, device=points.device)
    return Mean(points[other].view(len(first), -1).mean(1))
