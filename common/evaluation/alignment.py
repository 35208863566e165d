"""Word alignment against links that people drew."""

from collections.abc import Sequence

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.means import Mean, ratio

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
        `precision`, `recall`, `aer` and `one_minus_aer`, ratios over the sentences. Without a link, precision is 0.

    Raises:
        UserError: there is no sure link, or not as many sentences everywhere.
    """
    if not len(predicted) == len(sure) == len(sure if possible is None else possible):
        raise UserError(
            f"alignment of {len(predicted)} sentences against links of {len(sure)}: expected as many of each"
        )
    if not any(sure):
        raise UserError("alignment_metrics needs at least one sure link; there is none to recall")
    allowed = sure if possible is None else [s | p for s, p in zip(sure, possible, strict=True)]
    found, wanted = [len(a) for a in predicted], [len(s) for s in sure]
    hits = [len(a & s) for a, s in zip(predicted, sure, strict=True)]
    harmless = [len(a & p) for a, p in zip(predicted, allowed, strict=True)]
    agreement = ratio(
        [h + p for h, p in zip(hits, harmless, strict=True)], [a + s for a, s in zip(found, wanted, strict=True)]
    )
    return {
        "precision": ratio(harmless, found) if any(found) else 0.0,
        "recall": ratio(hits, wanted),
        "aer": Mean(1 - agreement.items, 1 - agreement),
        "one_minus_aer": agreement,
    }
