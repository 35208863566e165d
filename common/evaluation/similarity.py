"""Agreement with human judgements of similarity."""

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, finite, scoring


def spearman(predicted: Tensor, human: Tensor) -> Mean:
    """Rank correlation in [-1, 1] between predicted and human similarities, tied values given their mean rank.

    Predictions that are all alike correlate with nothing: 0, where the formula is undefined.

    Args:
        predicted: shape (n,), such as cosines of pairs of sentences.
        human: shape (n,), the scores people gave.

    Returns:
        The mean over the pairs of the products of their two ranks, each standardized over all pairs.

    Raises:
        UserError: the shapes differ, there are fewer than two pairs, a value is not finite, or people gave all pairs
            the same score.
    """
    if predicted.shape != human.shape or predicted.ndim != 1 or len(human) < 2:
        raise UserError(
            f"spearman needs two vectors of one length above 1; got {tuple(predicted.shape)} and {tuple(human.shape)}"
        )
    finite("predicted similarities", predicted)
    if (finite("human similarities", human) == human[0]).all():
        raise UserError(f"all {len(human)} human similarities are {float(human[0]):g}; nothing can agree with them")
    ranks = torch.from_numpy(rankdata(torch.stack([x.detach().double().cpu() for x in (predicted, human)]), axis=1))
    centred = ranks - ranks.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1).sqrt()
    return Mean(centred.prod(dim=0) / spread.prod() if spread[0] > 0 else torch.zeros(len(human)))


@scoring()
def margins(anchor: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """cos(anchor, positive) - cos(anchor, negative) for each negative, in [-2, 2], shape (n, k).

    The least of a row is the margin of its anchor: above 0 where the positive is nearer than every negative.

    Args:
        anchor, positive: shape (n, d), normalized here.
        negatives: k of each anchor, shape (n, k, d), normalized here.

    Raises:
        UserError: the shapes do not fit, or embeddings are not finite.
    """
    if anchor.shape != positive.shape or negatives.ndim != 3 or negatives[:, 0].shape != anchor.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (anchor, positive, negatives))
        raise UserError(f"anchors, positives and negatives of {shapes}: expected (n, d), (n, d) and (n, k, d)")
    a, p, flat = (F.normalize(embeddings("triple", x), dim=1) for x in (anchor, positive, negatives.flatten(0, 1)))
    return (a * p).sum(dim=1, keepdim=True) - (a[:, None] * flat.view_as(negatives)).sum(dim=2)
