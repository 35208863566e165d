"""Agreement with human judgements of similarity."""

from scipy.stats import spearmanr
from torch import Tensor

from common.errors import UserError


def spearman(predicted: Tensor, human: Tensor) -> float:
    """Rank correlation in [-1, 1] between predicted and human similarities, tied values given their mean rank.

    Predictions that are all alike correlate with nothing: 0, where the formula is undefined.

    Args:
        predicted: shape (n,), such as cosines of pairs of sentences.
        human: shape (n,), the scores people gave.

    Raises:
        UserError: the shapes differ, there are fewer than two pairs, or a prediction is not finite.
    """
    if predicted.shape != human.shape or predicted.ndim != 1 or len(human) < 2:
        raise UserError(
            f"spearman needs two vectors of one length above 1; got {tuple(predicted.shape)} and {tuple(human.shape)}"
        )
    if not predicted.isfinite().all():
        raise UserError("predicted similarities hold NaN or infinite values; they cannot be ranked")
    if (predicted == predicted[0]).all():
        return 0.0
    return float(spearmanr(predicted.double().cpu().numpy(), human.double().cpu().numpy()).statistic)
