"""Coherence and diversity of topics, on texts small enough to count by hand."""

import math

import pytest

from common.errors import UserError
from common.evaluation.topics import npmi, topic_diversity

TEXTS = ["cat dog", "cat dog bird", "cat fish", "bird fish", "stone the", "stone the", "the", "the"]


def test_npmi_of_a_pair_is_the_formula() -> None:
    # cat in 3 of 8, dog in 2, both in 2; bird in 2, fish in 2, both in 1.
    assert npmi([["cat", "dog"]], TEXTS) == pytest.approx(math.log((2 / 8) / (3 / 8 * 2 / 8)) / -math.log(2 / 8))
    assert npmi([["bird", "fish"]], TEXTS) == pytest.approx(math.log((1 / 8) / (2 / 8 * 2 / 8)) / -math.log(1 / 8))


def test_bounds() -> None:
    assert npmi([["dog", "fish"]], TEXTS) == -1.0  # never together
    assert npmi([["dog", "unicorn"]], TEXTS) == -1.0
    assert npmi([["a", "b"]], ["a b", "c"]) == pytest.approx(1.0)  # always together
    assert npmi([["a", "b"]], ["a b", "b a"]) == 1.0
    assert npmi([["a", "b"]], ["a b", "a", "b", "c"]) == pytest.approx(0.0)  # independent


def test_the_mean_is_over_pairs_and_then_over_topics() -> None:
    one, other = ["cat", "dog", "bird"], ["bird", "fish"]
    pairs = [npmi([[a, b]], TEXTS) for a, b in (("cat", "dog"), ("cat", "bird"), ("dog", "bird"))]
    assert npmi([one, other], TEXTS) == pytest.approx((sum(pairs) / 3 + npmi([other], TEXTS)) / 2)


def test_diversity_counts_each_word_once() -> None:
    assert topic_diversity([["a", "b"], ["a", "c"]]) == 0.75
    assert topic_diversity([["a", "b"], ["c", "d"]]) == 1.0


def test_topics_without_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="two words of each"):
        npmi([["alone"]], TEXTS)
    with pytest.raises(UserError, match="at least one topic"):
        npmi([], TEXTS)
