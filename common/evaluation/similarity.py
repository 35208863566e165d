"""Agreement with human judgements of similarity."""

import torch
from scipy.stats import rankdata
from torch import Tensor

from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import finite


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
