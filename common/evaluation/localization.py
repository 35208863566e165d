"""Cross-view localization: whether the first reference in the gallery shows the query's place."""

from functools import cache
from math import comb

from torch import Tensor

from common.benchmark import Metrics
from common.evaluation.means import Mean
from common.evaluation.retrieval import Positives, best_ranks, same_id


def cutoffs(size: int) -> dict[str, int]:
    """How many references of a gallery of that size each recall looks at; "1%" is the first hundredth."""
    counts = {"recall@1": 1, "recall@5": 5, "recall@10": 10, "recall@1%": max(1, size // 100)}
    return {name: min(count, size) for name, count in counts.items()}


def localization_metrics(
    query: Tensor,
    reference: Tensor,
    query_places: Tensor,
    reference_places: Tensor,
    covering: Tensor | None = None,
) -> Metrics:
    """Recalls and hit rate.

    Args:
        query: shape (n, d); scores are dot products, so normalize for the cosine.
        reference: the gallery, shape (m, d).
        query_places: int64 of shape (n,).
        reference_places: a reference with the query's number is right, int64 of shape (m,).
        covering: where references overlap, the columns of those that cover the query's centre, its own among them;
            padded with -1, int64 of shape (n, c).

    Returns:
        `recall@1`, `recall@5`, `recall@10`, `recall@1%` and `mrr` (mean reciprocal rank), and with `covering` the
        `hit_rate`: the share of queries whose first reference covers their centre. Means over the queries, each with
        `/gallery{m}` behind it.

    Raises:
        UserError: embeddings are not finite, or a query has no right reference.

    Source: Zhu et al. 2021 (VIGOR), section 6. The released code of Sample4Geo (Deuser et al. 2023) counts a hit only
    if no reference beside the covering ones scores above the query's own, which is stricter.
    """
    places = same_id(query_places.to(query.device), reference_places.to(query.device))
    ranks = best_ranks(query, reference, places)
    metrics = {name: Mean(ranks <= k) for name, k in cutoffs(len(reference)).items()}
    metrics["mrr"] = Mean(ranks.double().reciprocal())
    if covering is not None:
        first = best_ranks(query, reference, _columns(covering.to(query.device)))
        metrics["hit_rate"] = Mean(first == 1)
    return {f"{name}/gallery{len(reference)}": value for name, value in metrics.items()}


def chance_localization(query_places: Tensor, reference_places: Tensor, covering: Tensor | None = None) -> Metrics:
    """What `localization_metrics` returns in expectation if every order of the gallery is as likely."""
    size = len(reference_places)
    per_place = dict(zip(*(x.tolist() for x in reference_places.unique(return_counts=True)), strict=True))
    right = [per_place[place] for place in query_places.tolist()]
    metrics = {
        name: 1 - sum(comb(size - count, k) for count in right) / (len(right) * comb(size, k))
        for name, k in cutoffs(size).items()
    }
    metrics["mrr"] = sum(_reciprocal_rank(size, count) for count in right) / len(right)
    if covering is not None:
        metrics["hit_rate"] = float((covering >= 0).sum(1).double().mean()) / size
    return {f"{name}/gallery{size}": value for name, value in metrics.items()}


@cache
def _reciprocal_rank(size: int, right: int) -> float:
    """The expected reciprocal rank of the best of `right` among `size` in a random order."""
    return sum(comb(size - rank, right - 1) / rank for rank in range(1, size - right + 2)) / comb(size, right)


def _columns(covering: Tensor) -> Positives:
    def pairs(rows: slice) -> tuple[Tensor, Tensor]:
        row, slot = (covering[rows] >= 0).nonzero(as_tuple=True)
        return row, covering[rows][row, slot]

    return pairs
