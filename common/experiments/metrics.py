"""Which way a metric is better, by its name."""

from collections.abc import Iterable
from typing import Literal

LOWER = frozenset(
    (
        *("loss", "perplexity", "error", "mae", "mse", "rmse", "wer", "cer", "aer", "eer", "min_dcf"),
        *("median_rank", "mean_rank", "average_rank", "log2_rank", "alignment", "uniformity", "deviation"),
        *("rank_variance", "log2_rank_variance", "log2_rank_variance_matched"),
        *("brier", "ece15", "ece15_scaled", "forgetting"),
        *("frame_distance", "orthogonal_distance", "simplex_distance", "scatter"),
    )
)
NEITHER = frozenset(("modality_gap", "linear_separability", "effective_rank", "largest_cosine"))


def best(metric: str, values: Iterable[float]) -> float:
    """The best of the values that a metric has, at least one."""
    return min(values) if better(metric) == "lower" else max(values)


def better(metric: str) -> Literal["higher", "lower"] | None:
    """Whether higher or lower is better, as part of the name says; None where a metric only describes."""
    parts = set(metric.split("/"))
    return None if parts & NEITHER else "lower" if parts & LOWER else "higher"
