"""What a published row says a method gained, on a scale that can be laid beside ours."""

import re

from common.experiments.card import Published
from common.experiments.verdict import ClaimResult, ceiling

# Metrics whose best value is 0, and those whose best value is 100, by words of the metric as the card prints it.
_ERRORS = re.compile(r"\b(error|errors|wer|cer|eer|fid|loss|perplexity|epochs|mae|mse|rmse|rank|distance)\b", re.I)
_PERCENT = re.compile(r"%|\bx 100\b")


def best_published(row: Published) -> float | None:
    """The best value that a published metric can have; None where its name does not tell."""
    if _ERRORS.search(row.metric):
        return 0.0
    return 100.0 if _PERCENT.search(row.metric) else None


def published_gain(row: Published | None) -> float | None:
    """Percent of what the baseline left to gain that the method gained, as printed; None where that cannot be told.

    65 to 72 of 100 is a fifth of what was left; so is a word error rate of 10 that becomes 8.
    """
    if row is None or row.baseline_value is None:
        return None
    return _share(row.value - row.baseline_value, row.baseline_value, best_published(row))


def reproduced_gain(result: ClaimResult) -> float | None:
    """The same of a claim on record, from the baseline's mean to the metric's ceiling."""
    if result.difference is None or result.baseline is None:
        return None
    return _share(result.difference.mean, result.baseline.mean, ceiling(result.claim))


def _share(difference: float, baseline: float, best: float | None) -> float | None:
    left = None if best is None else best - baseline
    return 100 * difference / left if left else None
