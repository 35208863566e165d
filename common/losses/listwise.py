"""Losses on a list of candidates a query: distillation of a teacher's ranking, and the circle loss."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from common.checks import check_embeddings, check_floating, check_ids, check_mask, check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32, same_precision
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores

_CANDIDATES = examples.WIDTH


def _list(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    scores, teacher = torch.randn(2, n, _CANDIDATES, generator=draw, dtype=torch.float64)
    shared = {"temperature": examples.number(0.5), "teacher_temperature": 0.3}
    return Example({"scores": scores}, {"teacher": teacher}, shared)


def _ragged(n: int, seed: int) -> Example:
    example = _list(n, seed)
    mask = torch.arange(_CANDIDATES) <= torch.arange(n)[:, None] % _CANDIDATES
    return Example(example.embeddings, {**example.samples, "mask": mask}, example.shared)


@loss(_list, _ragged, needs=Needs.NOTHING)
def listwise_kl(
    scores: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    teacher_temperature: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Makes the student order and space a list of candidates as the teacher does.

    mean over queries of KL( softmax(teacher / t_teacher) || softmax(scores / t) ) over the query's candidates.

    Args:
        scores: (n, k), the student's, for example cosines.
        teacher: (n, k); nothing flows to it.
        temperature: of the student: number or 0-d tensor (learnable).
        teacher_temperature: of the teacher.
        mask: bool (n, k), True at real candidates of lists of different length; each list has at least one.

    Returns:
        The mean over the queries of all processes.

    Raises:
        UserError: a temperature is not above 0, or the shapes differ.

    Relations: ListNet's cross-entropy has the same gradient, and is larger by the teacher's entropy. With a one-hot
    teacher it is the cross-entropy of `info_nce` over a list of its own.

    Source: Cao et al. 2007 (ListNet) with top-one probabilities, as a divergence; for retrieval Tamber et al. 2025.
    """
    _check_lists(scores, teacher=teacher, mask=mask)
    logits, target = same_precision(scores, teacher.detach())
    target = target * inverse(teacher_temperature, "teacher_temperature")
    logits = logits * inverse(temperature)
    if mask is not None:
        # A finite floor: with -inf on both sides the difference of logarithms would be NaN.
        floor = torch.finfo(logits.dtype).min / 2
        target, logits = target.masked_fill(~mask, floor), logits.masked_fill(~mask, floor)
    log_p, log_q = target.log_softmax(dim=1), logits.log_softmax(dim=1)
    return global_mean((log_p.exp() * (log_p - log_q)).sum(dim=1))


def _judged(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    scores = torch.rand(n, _CANDIDATES, generator=draw, dtype=torch.float64)
    positive = torch.rand(n, _CANDIDATES, generator=draw) < 0.4
    positive[0] = True
    return Example({"scores": scores}, {"positive": positive}, {"margin": 0.25, "gamma": 16.0}, gradcheck=False)


@loss(_judged, needs=Needs.NOTHING)
def circle_list(scores: Tensor, positive: Tensor, *, margin: float, gamma: float, mask: Tensor | None = None) -> Tensor:
    """Circle loss over the judged candidates of a query.

    log( 1 + sum_n exp(gamma [s_n + m]_+ (s_n - m)) * sum_p exp(-gamma [1 + m - s_p]_+ (s_p - 1 + m)) ). A score far
    from its optimum pulls harder: the factors [.]_+ are weights, and no gradient flows through them.

    Args:
        scores: (n, k) in [0, 1] or cosines.
        positive: bool (n, k).
        margin: m; a positive aims at 1 - m, a negative at m.
        gamma: scale, above 0.
        mask: bool (n, k), True at real candidates of lists of different length.

    Returns:
        The mean over the queries of all processes that have a positive and a negative; 0 if none has.

    Raises:
        UserError: margin or gamma is out of range, or the shapes differ.

    Relations: `circle` takes its lists from the labels of a batch.

    Source: Sun et al. 2020 (circle loss), section 3; used for lists by Liu et al. 2025 (ListConRanker).
    """
    _check_lists(scores, positive=positive, mask=mask)
    _check_circle(margin, gamma)
    scores = at_least_float32(scores)
    real = torch.ones_like(positive) if mask is None else mask
    positives, negatives = real & positive, real & ~positive
    up = (-_pull_up(scores, margin, gamma)).masked_fill(~positives, -math.inf)
    down = _push_down(scores, margin, gamma).masked_fill(~negatives, -math.inf)
    both = positives.any(dim=1) & negatives.any(dim=1)
    # Lists without one of the sides are emptied of -inf before the logarithm of nothing reaches the gradient.
    up, down = (side.masked_fill(~both[:, None], 0.0).logsumexp(dim=1) for side in (up, down))
    return global_mean(F.softplus(up + down), where=both)


def _check_lists(scores: Tensor, **lists: Tensor | None) -> None:
    for name, values in lists.items():
        if values is not None and (values.shape != scores.shape or scores.ndim != 2):
            raise UserError(f"{name} {tuple(values.shape)} and scores {tuple(scores.shape)}: expected (n, k) of both")
        if values is not None and name in ("mask", "positive"):
            check_mask(name, values)
        elif values is not None:
            check_floating(**{name: values})
    check_floating(scores=scores)


def _check_circle(margin: float, gamma: float) -> None:
    check_number("margin", margin)
    check_number("gamma", gamma, above=0)


def _pull_up(score: Tensor, margin: float, gamma: float) -> Tensor:
    return gamma * torch.relu(1 + margin - score.detach()) * (score - (1 - margin))


def _push_down(score: Tensor, margin: float, gamma: float) -> Tensor:
    return gamma * torch.relu(score.detach() + margin) * (score - margin)


def _classes(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(example.embeddings, example.samples, {"margin": 0.25, "gamma": 16.0}, gradcheck=False)


@loss(_classes, needs=Needs.ROWS)
def circle(
    embeddings: Tensor, labels: Tensor, *, margin: float, gamma: float, exchange: Exchange = Exchange.GATHER
) -> Tensor:
    """Circle loss over a labelled batch: cosines within a class go beyond 1 - m, all others below m.

    For each anchor the formula of `circle_list` over all other embeddings; same label, positive; other label, negative.

    Args:
        embeddings: (n, d), normalized by the caller.
        labels: int (n,).
        margin: m; 0.25 for faces, 0.4 for fine-grained retrieval in the paper.
        gamma: scale, above 0; 256 and 80 there.
        exchange: which embeddings an anchor meets on several processes; not RING.

    Returns:
        The mean over the anchors of all processes that have a positive and a negative; 0 if none has.

    Raises:
        UserError: margin or gamma is out of range, or labels do not fit the embeddings.

    Relations: `sup_con` weighs all pairs by their softmax alone; `triplet` looks at the hardest ones only.

    Source: Sun et al. 2020 (circle loss), section 3.
    """
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    _check_circle(margin, gamma)
    scores = Scores(embeddings, embeddings, exchange=exchange)
    same, different = scores.equal(labels, labels), scores.pairwise(torch.ne, (labels,), (labels,))
    up, some_up = _log_sum_exp(
        scores.exclude(scores.own()).exclude(different),
        lambda s: -_pull_up(s, margin, gamma),
        # The hardest positive is the lowest one: look for it with the signs turned round.
        lambda: -Scores(-embeddings, embeddings, exchange=exchange).exclude(scores.own()).exclude(different).topk(1)[0],
    )
    negatives = scores.exclude(same)
    down, some_down = _log_sum_exp(negatives, lambda s: _push_down(s, margin, gamma), lambda: negatives.topk(1)[0])
    both = some_up & some_down
    return global_mean(F.softplus(torch.where(both, up + down, 0.0)), where=both)


def _log_sum_exp(scores: Scores, f: Callable[[Tensor], Tensor], hardest: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """log sum_j exp(f(s_ij)) by row, and which rows have a term at all.

    f is largest at the hardest score, or nowhere above 0.
    """
    with torch.no_grad():
        extreme = hardest()[:, 0]
        some = extreme.isfinite()
        shift = f(torch.where(some, extreme, 0.0)).clamp(min=0.0)
    # Excluded pairs may lie beyond: cap them, or an infinite slope would meet the mask's zero. The cap is above 0 so
    # that rounding does not take the gradient from the hardest pair itself.
    total = scores.sum(lambda s, top: torch.exp((f(s) - top).clamp(max=1.0)), rows=(shift,))
    return torch.where(some, total, 1.0).log() + shift, some
