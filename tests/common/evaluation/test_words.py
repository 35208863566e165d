"""Word error rates by hand."""

import pytest

from common.errors import UserError
from common.evaluation.words import edits, word_error_rate


def test_edits() -> None:
    assert edits("kitten", "sitting") == 3 and edits("", "abc") == edits("abc", "") == 3 and edits("ab", "ab") == 0
    assert edits("flaw", "lawn") == 2


def test_words_are_counted_over_all_texts() -> None:
    # One word replaced, one left out, of five; the text that is right counts with its words.
    assert word_error_rate(["THE CAT", "A"], ["THE DOG SAT DOWN", "A"]) == pytest.approx(3 / 5)
    assert word_error_rate(["A B C"], ["A"]) == 2.0
    with pytest.raises(UserError, match="1 transcripts are compared with 2"):
        word_error_rate(["A"], ["A", "B"])
    with pytest.raises(UserError, match="no word is expected"):
        word_error_rate([""], [""])
