"""Cross-entropy of the scores against a distribution over the keys."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from common.checks import check_number
from common.distributed import Exchange, global_mean
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores
from common.tiled.tiles import Matrix


class Distilled(NamedTuple):
    """The targets alpha * softmax(teacher) + (1 - alpha) * known, a matrix for `soft_target_cross_entropy`.

    Attributes:
        teacher: scores of the teacher over the same pairs as the student's.
        total: the teacher's log-sum-exp by row, (m,).
        known: the targets that are known, for example from ids; rows sum to 1.
        alpha: weight of the teacher, in [0, 1].
    """

    teacher: Scores
    total: Tensor
    known: Matrix
    alpha: float

    @property
    def shape(self) -> tuple[int, int]:
        """The teacher's, which must be the student's."""
        return self.teacher.shape

    def tile(self, rows: slice, columns: slice) -> Tensor:
        soft = (self.teacher.tile(rows, columns).detach() - self.total[rows, None]).exp_().mul_(self.alpha)
        known = self.known.tile(rows, columns)
        return soft if known is None else soft.add_(known, alpha=1 - self.alpha)


def same_id(scores: Scores, row_ids: Tensor, key_ids: Tensor) -> Matrix:
    """Targets uniform over the keys of the query's id; each query has at least one."""
    with torch.no_grad():
        number = scores.positives(row_ids, key_ids).count
    return scores.pairwise(lambda row, count, key: (row == key) / count, (row_ids, number), (key_ids,))


def distilled(teacher: Scores, known: Matrix, alpha: float) -> Distilled:
    """Targets that trust the teacher by `alpha`, and the known targets by the rest."""
    check_number("alpha", alpha, least=0, most=1)
    with torch.no_grad():
        return Distilled(teacher, teacher.logsumexp(dim=1), known, alpha)


def _ids(n: int, seed: int) -> Example:
    """Targets uniform over a query's positives, of which there are several."""
    example = examples.query_key(n, seed)
    ids = torch.randint(max(2, n // 2), (n,), generator=examples.generator(seed))

    def call(function: Callable[..., Tensor], ids: Tensor, **rest) -> Tensor:
        scores = _scores(**rest)
        return function(scores, same_id(scores, ids, ids))

    return Example(example.embeddings, {"ids": ids}, example.shared, call)


def _momentum(n: int, seed: int) -> Example:
    """Targets from a teacher, mixed with the known ones."""
    draw = examples.generator(seed + 1)
    example = examples.query_key(n, seed)
    teacher = {"teacher_query": examples.unit(draw, n), "teacher_key": examples.unit(draw, n)}

    def call(
        function: Callable[..., Tensor], teacher_query: Tensor, teacher_key: Tensor, ids: Tensor, **rest
    ) -> Tensor:
        scores = _scores(**rest)
        teacher = _scores(**{**rest, "query": teacher_query, "key": teacher_key})
        return function(scores, distilled(teacher, same_id(scores, ids, ids), 0.4))

    return Example(example.embeddings, {**teacher, "ids": torch.arange(n) % max(2, n - 2)}, example.shared, call)


def _scores(query: Tensor, key: Tensor, temperature: Tensor, exchange: Exchange = Exchange.LOCAL) -> Scores:
    return Scores(query, key, scale=1 / temperature, exchange=exchange)


@loss(_ids, _momentum, needs=Needs.ROWS)
def soft_target_cross_entropy(scores: Scores, targets: Matrix | Tensor) -> Tensor:
    """Makes a query's distribution over the keys the target's.

    mean_i - sum_j w_ij log( exp(s_ij) / sum_k exp(s_ik) ).

    Args:
        scores: (m, n), with the scale, the exchange and the exclusions the loss is to have.
        targets: (m, n), w: a tensor, or a lazy matrix such as `distilled` or `same_id` give. Constants, not below 0;
            a row need not sum to 1.

    Returns:
        The mean over the queries of all processes. The least value is the entropy of the targets, not 0.

    Relations: `info_nce` with `ids` or `label_smoothing` has its targets built in; `listwise_kl` subtracts the entropy.
    Memory is linear as long as the targets' is.

    Source: Li et al. 2021 (ALBEF), eq. 6, for targets from a momentum teacher.
    """
    total = scores.logsumexp(dim=1)
    return global_mean(scores.sum(lambda s, lse, w: w * (lse - s), rows=(total,), pairs=(targets,)))
