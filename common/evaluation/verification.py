"""Verification: do two recordings, faces or writings have the same source?"""

import numpy as np
from sklearn.metrics import roc_curve
from torch import Tensor

from common.benchmark import Metrics
from common.checks import check_number
from common.errors import UserError
from common.evaluation.scoring import finite


def verification_metrics(
    scores: Tensor, same: Tensor, *, p_target: float = 0.01, cost_miss: float = 1.0, cost_false_alarm: float = 1.0
) -> Metrics:
    """Error rates of accepting the trials that score above a threshold.

    Args:
        scores: one similarity a trial, shape (n,).
        same: whether the trial's two sides have one source, shape (n,).
        p_target: prior probability of a target trial in the detection cost.
        cost_miss: of rejecting a target trial.
        cost_false_alarm: of accepting another.

    Returns:
        `eer`: where the rates of misses and of false alarms are equal, interpolated between thresholds.
        `min_dcf/p{p_target}`: the least detection cost over all thresholds (NIST speaker recognition evaluations), in
        units of the better of accepting everything and rejecting everything; so it is at most 1.

    Raises:
        UserError: a score is not finite, the shapes differ, the trials are not of both kinds, or a cost or the prior is
            out of range.
    """
    if scores.ndim != 1 or scores.shape != same.shape:
        raise UserError(f"scores {tuple(scores.shape)} and same {tuple(same.shape)}: expected (n,) of both")
    if not 0 < p_target < 1:
        raise UserError(f"p_target {p_target}: expected a probability between 0 and 1")
    check_number("cost_miss", cost_miss, above=0)
    check_number("cost_false_alarm", cost_false_alarm, above=0)
    finite("verification scores", scores)
    if not 0 < int(same.sum()) < len(same):
        raise UserError(f"{int(same.sum())} of {len(same)} trials have one source; both kinds of trials are needed")
    false_alarm, hit, _ = roc_curve(same.cpu().numpy(), scores.double().cpu().numpy(), drop_intermediate=False)
    miss = 1 - hit
    # false_alarm - miss rises along the curve from -1 to 1; the equal error rate is where it crosses 0.
    above = int(np.argmax(false_alarm >= miss))
    before, after = false_alarm[above - 1] - miss[above - 1], false_alarm[above] - miss[above]
    weight = before / (before - after)
    eer = (1 - weight) * miss[above - 1] + weight * miss[above]
    cost = cost_miss * p_target * miss + cost_false_alarm * (1 - p_target) * false_alarm
    trivial = min(cost_miss * p_target, cost_false_alarm * (1 - p_target))
    return {"eer": float(eer), f"min_dcf/p{p_target:g}": float(cost.min() / trivial)}
