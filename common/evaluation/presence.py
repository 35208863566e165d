"""Which of many concepts something shows: a linear map, and the average precision of what it says."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, scoring

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Of the linear map, of which validation data choose."""

Shown = tuple[Tensor, Tensor]
"""Features (n, d), and which concepts are there, bool (n, k)."""


def average_precision(scores: Tensor, there: Tensor) -> Tensor:
    """The average precision of each column: of the rows ordered by its scores, ties against the method.

    Args:
        scores: shape (n, k).
        there: which rows are right for which column, bool (n, k).

    Returns:
        float64 of shape (k,), NaN where nothing is right.
    """
    # First those that are not there, and then stably by score: of rows that tie, the wrong ones come first.
    order = there.byte().argsort(dim=0, stable=True)
    order = order.gather(0, scores.gather(0, order).argsort(dim=0, descending=True, stable=True))
    hits = there.gather(0, order).double()
    place = torch.arange(1, len(hits) + 1, dtype=torch.float64, device=hits.device)[:, None]
    return (hits.cumsum(0) / place * hits).sum(0) / hits.sum(0)


@scoring()
def presence_probe(train: Shown, val: Shown, test: Shown, groups: Mapping[str, slice]) -> Metrics:
    """Ridge regression from standardized features to the concepts, with the penalty that is best on validation data.

    Args:
        train, val, test: features and concepts; the map is fitted on the first, its penalty chosen on the second by
            the mean average precision over the concepts of the first group.
        groups: columns of the concepts by name.

    Returns:
        Of each group `probe_NAME/map`: the mean over its concepts of the average precision over the test rows; concepts
        that no row shows are left out. Of the first also `probe_NAME/picture_map`: the mean over the test rows that
        show any of the average precision over the concepts.

    Raises:
        UserError: features are not finite, or concepts do not fit them.
    """
    for name, (x, there) in {"train": train, "val": val, "test": test}.items():
        embeddings(name, x)
        if there.shape[:1] != x.shape[:1] or there.dtype != torch.bool:
            raise UserError(
                f"concepts of {name} are {tuple(there.shape)} of {there.dtype}: expected bool ({len(x)}, k)"
            )
    x = train[0].double()
    mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-6

    def with_one(features: Tensor) -> Tensor:
        return torch.cat([(features.double() - mean) / deviation, x.new_ones(len(features), 1)], dim=1)

    rows = [with_one(part[0]) for part in (train, val, test)]
    first = next(iter(groups))
    gram, target = rows[0].T @ rows[0], rows[0].T @ train[1].double()
    best, weights = -1.0, torch.empty(0)
    for penalty in PENALTIES:
        found = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), target)
        value = float(average_precision(rows[1] @ found[:, groups[first]], val[1][:, groups[first]]).nanmean())
        if value > best:
            best, weights = value, found
    scores = rows[2] @ weights
    metrics: Metrics = {}
    for name, columns in groups.items():
        precision = average_precision(scores[:, columns], test[1][:, columns])
        metrics[f"probe_{name}/map"] = Mean(precision[precision.isfinite()])
    shown = test[1][:, groups[first]]
    by_row = average_precision(scores[:, groups[first]].T, shown.T)
    return metrics | {f"probe_{first}/picture_map": Mean(by_row[by_row.isfinite()])}
