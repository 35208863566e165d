"""The likelihood of the right candidate: a measure of ranking that every score moves, and not only its order."""

import math

import torch
from torch import Tensor

from common.checks import check_number
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import finite, scoring

_STEPS = 60  # of the golden section: the bracket shrinks to 1e-12 of itself


@scoring()
def log_likelihood(scores: Tensor, right: Tensor, scale: float) -> Mean:
    """Mean log-probability of a right candidate, in nats: log softmax(scale * scores), summed over the right ones.

    It is comparable between methods where `scale` is fitted for each of them on validation data, see `fit_scale`.

    Args:
        scores: of every candidate for every query, shape (n, m).
        right: the right candidate of each query, int64 of shape (n,), or all right ones, bool (n, m).
        scale: above 0; 1 / temperature.

    Returns:
        The mean over the queries; 0 at best, log(1 / m) where all scores are alike and one candidate is right.

    Raises:
        UserError: a score is not finite, a query has no right candidate, or the scale is not above 0.
    """
    check_number("scale", scale, above=0)
    scores, right = _checked(scores, right)
    return Mean(_log_likelihood(scores, right, scale))


@scoring()
def fit_scale(scores: Tensor, right: Tensor) -> float:
    """The scale that makes `log_likelihood` largest; to be fitted on the validation split and used on the test split.

    Found within a factor of 2^14 of 1 over the standard deviation of the scores of a query: where all right candidates
    come first the likelihood grows without end. 1 where all scores are alike, which no scale changes.

    Args:
        scores, right: as in `log_likelihood`, of validation queries.

    Raises:
        UserError: a score is not finite, or a query has no right candidate.
    """
    scores, right = _checked(scores, right)
    spread = float(scores.std(dim=1, correction=0).mean())
    if spread == 0:
        return 1.0
    ends = [math.log(2.0**power / spread) for power in (-14, 14)]

    def value(log_scale: float) -> float:
        return float(_log_likelihood(scores, right, math.exp(log_scale)).mean())

    # Along the scale the likelihood of one right candidate has a single hill (its negative is convex).
    golden = (math.sqrt(5) - 1) / 2
    low, high = ends
    left, there = high - golden * (high - low), low + golden * (high - low)
    at_left, at_there = value(left), value(there)
    for _ in range(_STEPS):
        if at_left >= at_there:
            high, there, at_there = there, left, at_left
            left = high - golden * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, there, at_there
            there = low + golden * (high - low)
            at_there = value(there)
    return math.exp((low + high) / 2)


def _checked(scores: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of at least float32, and the right candidates as a mask."""
    if scores.ndim != 2 or not scores.numel():
        raise UserError(f"scores {tuple(scores.shape)}: expected (n, m), at least 1 each")
    scores = finite("scores of candidates", scores if scores.dtype == torch.float64 else scores.float())
    if right.shape == scores.shape[:1] and right.dtype == torch.int64:
        if not bool(((right >= 0) & (right < scores.shape[1])).all()):
            raise UserError(f"right candidates: expected columns from 0 to {scores.shape[1] - 1}")
        right = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, right[:, None].to(scores.device), True)
    if right.shape != scores.shape or right.dtype != torch.bool:
        shape, kind = tuple(right.shape), str(right.dtype).removeprefix("torch.")
        raise UserError(f"right candidates {shape} of {kind}: expected int64 ({len(scores)},) or bool as the scores")
    if not right.any(dim=1).all():
        raise UserError(f"query {int((~right.any(dim=1)).nonzero()[0])} has no right candidate")
    return scores, right.to(scores.device)


def _log_likelihood(scores: Tensor, right: Tensor, scale: float) -> Tensor:
    logits = scores.double() * scale
    return logits.masked_fill(~right, -math.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)
