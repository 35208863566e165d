"""Word error rate: what must be changed of a transcript to make it right."""

from collections.abc import Sequence

from common.errors import UserError


def edits(found: Sequence, expected: Sequence) -> int:
    """The least number of insertions, deletions and replacements that turn one into the other (Levenshtein 1966)."""
    row = list(range(len(expected) + 1))
    for i, ours in enumerate(found, start=1):
        before, row = row, [i]
        for j, theirs in enumerate(expected, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (ours != theirs)))
    return row[-1]


def word_error_rate(found: Sequence[str], expected: Sequence[str]) -> float:
    """Edits of words over all texts by the number of words expected; it may exceed 1.

    Raises:
        UserError: not as many texts on both sides, or no word is expected.
    """
    if len(found) != len(expected):
        raise UserError(f"{len(found)} transcripts are compared with {len(expected)} texts")
    words = sum(len(text.split()) for text in expected)
    if not words:
        raise UserError("no word is expected, so there is no word error rate")
    return sum(edits(a.split(), b.split()) for a, b in zip(found, expected, strict=True)) / words
