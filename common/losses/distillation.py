"""Momentum distillation (ALBEF, Li et al. 2021): targets between the truth and what a slower copy of the model says."""

from torch import Tensor
from torch.nn import functional as F

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange
from common.losses.soft_targets import distilled, same_id, soft_target_cross_entropy
from common.losses.temperature import inverse
from common.scores import Scores


def momentum_contrast(
    query: Tensor,
    key: Tensor,
    teacher_query: Tensor,
    *,
    ids: Tensor,
    key_ids: Tensor,
    temperature: float | Tensor,
    alpha: float,
) -> Tensor:
    """Each query finds its keys among those of a teacher, or as far as the teacher's own query does (eq. 6).

    The mean over the queries of all processes of the cross-entropy against alpha * softmax(teacher) + (1 - alpha) *
    truth, which is the paper's sum of contrast and divergence up to the teacher's entropy.

    Args:
        query: of the student, (m, e), normalized by the caller.
        key: of the teacher, all candidates, without gradient, (n, e): gathered already, those of a queue among them.
        teacher_query: of the teacher, (m, e).
        ids, key_ids: equal where a candidate is right, int64 (m,) and (n,); each query has at least one.
        temperature: number or 0-d tensor; the teacher's gives no gradient.
        alpha: weight of the teacher, in [0, 1].

    Raises:
        UserError: alpha is outside [0, 1], the temperature not above 0, or ids do not fit queries and keys.
    """
    check_number("alpha", alpha, least=0, most=1)
    check_embeddings(query=query, key=key)
    check_ids("ids", ids, len(query))
    check_ids("key_ids", key_ids, len(key))
    scale = inverse(temperature)
    scores = Scores(query, key, scale=scale, exchange=Exchange.LOCAL)
    targets = same_id(scores, ids, key_ids)
    if alpha:
        # `distilled` takes no gradient to the scale. Detached, one that training made NaN would be refused as given so,
        # where the loss is to say it.
        teacher = Scores(teacher_query, key, scale=scale, exchange=Exchange.LOCAL)
        targets = distilled(teacher, targets, alpha)
    return soft_target_cross_entropy(scores, targets)


def distilled_cross_entropy(logits: Tensor, targets: Tensor, teacher: Tensor | None, alpha: float) -> Tensor:
    """Of each row against alpha * softmax(teacher) + (1 - alpha) * truth, shape (m,) (eq. 7).

    Args:
        logits: of the student, (m, v).
        targets: the classes, int64 (m,).
        teacher: logits of the teacher, without gradient, (m, v); None where alpha is 0.
        alpha: weight of the teacher, in [0, 1].
    """
    if teacher is None:
        return F.cross_entropy(logits, targets, reduction="none")
    truth = F.one_hot(targets, logits.shape[1]).to(logits)
    return F.cross_entropy(logits, alpha * teacher.softmax(dim=1) + (1 - alpha) * truth, reduction="none")
