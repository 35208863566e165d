"""Whole words as rows: the commonest have one, the others share one."""

import pytest

from common.encoders.word_index import WordIndex
from common.errors import UserError

SENTENCES = [["b", "a", "c"], ["b", "a"], ["b", "d"]]


def test_the_commonest_words_have_rows_and_ties_go_by_spelling() -> None:
    index = WordIndex(5)
    index.learn(SENTENCES)
    assert index.words == ["b", "a", "c"] and len(index) == 5
    assert index.ids([["c", "d", "new"], []], 4).tolist() == [[4, 1, 1, 0], [0, 0, 0, 0]]
    assert index.ids([["b", "a", "c"]], 2).tolist() == [[2, 3]]


def test_without_a_number_all_words_have_rows() -> None:
    index = WordIndex()
    index.learn(SENTENCES)
    assert index.words == ["b", "a", "c", "d"]
    restored = WordIndex()
    restored.words = index.words
    assert restored.ids(SENTENCES, 3).equal(index.ids(SENTENCES, 3))


def test_there_must_be_a_row_for_a_word() -> None:
    with pytest.raises(UserError, match="rows is 2; it must be at least 3"):
        WordIndex(2)
