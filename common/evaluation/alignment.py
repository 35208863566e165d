"""Word alignment against links that people drew."""

from collections.abc import Iterable, Sequence

from common.benchmark import Metrics

Links = set[tuple[int, int]]
"""Pairs of a word of the source sentence and a word of the target sentence, both counted from 0."""


def alignment_metrics(
    predicted: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links] | None = None
) -> Metrics:
    """Precision, recall and error rate of the links of all sentences together (Och and Ney 2003, section 5).

    precision = |A n P| / |A|, recall = |A n S| / |S|, AER = 1 - (|A n S| + |A n P|) / (|A| + |S|).

    Args:
        predicted: A, the links of each sentence pair.
        sure: S, the links that a good alignment has.
        possible: P, the links that it may have besides; by default none, and then 1 - AER is the F1.

    Returns:
        `precision`, `recall`, `aer` and `one_minus_aer`. Without a link, precision is 0.
    """
    allowed = sure if possible is None else [s | p for s, p in zip(sure, possible, strict=True)]
    found, wanted = _count(predicted), _count(sure)
    hits = _count(a & s for a, s in zip(predicted, sure, strict=True))
    harmless = _count(a & p for a, p in zip(predicted, allowed, strict=True))
    agreement = (hits + harmless) / (found + wanted)
    return {
        "precision": harmless / found if found else 0.0,
        "recall": hits / wanted,
        "aer": 1 - agreement,
        "one_minus_aer": agreement,
    }


def _count(sets: Iterable[Links]) -> int:
    return sum(map(len, sets))
