"""Alignment error rate, by hand."""

import pytest

from common.evaluation.alignment import alignment_metrics


def test_without_possible_links_it_is_the_f1() -> None:
    found = alignment_metrics([{(0, 0), (1, 1), (2, 2)}, set()], [{(0, 0), (1, 2)}, {(0, 0), (1, 1)}])
    precision, recall = 1 / 3, 1 / 4
    f1 = 2 * precision * recall / (precision + recall)
    assert found == pytest.approx({"precision": precision, "recall": recall, "aer": 1 - f1, "one_minus_aer": f1})


def test_possible_links_do_no_harm() -> None:
    """Och and Ney's formula: |A| = 3, |S| = 1, |A n S| = 1, |A n P| = 2 as sure links are possible ones."""
    found = alignment_metrics([{(0, 0), (1, 1), (2, 2)}], [{(0, 0)}], [{(1, 1), (3, 3)}])
    assert found == pytest.approx({"precision": 2 / 3, "recall": 1.0, "aer": 1 - 3 / 4, "one_minus_aer": 3 / 4})


def test_no_links_at_all() -> None:
    assert alignment_metrics([set()], [{(0, 0)}]) == {"precision": 0.0, "recall": 0.0, "aer": 1.0, "one_minus_aer": 0.0}
