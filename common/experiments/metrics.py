"""Which way a metric is better, by its name."""

from typing import Literal

LOWER = frozenset(
    (
        *("loss", "perplexity", "error", "mae", "mse", "rmse", "wer", "cer", "aer", "eer", "min_dcf"),
        *("median_rank", "mean_rank", "average_rank", "log2_rank", "alignment", "uniformity", "deviation"),
        *("brier", "ece15"),
    )
)
NEITHER = frozenset(("modality_gap", "effective_rank"))


def better(metric: str) -> Literal["higher", "lower"] | None:
    """Whether higher or lower is better, as part of the name says; None where a metric only describes."""
    parts = set(metric.split("/"))
    return None if parts & NEITHER else "lower" if parts & LOWER else "higher"
