"""Filtered ranks and recommendation, against a walk down the list."""

import math

import pytest
import torch

from common.errors import UserError
from common.evaluation.links import filtered_ranks, link_metrics, recommendation_metrics


def test_filtered_ranks() -> None:
    scores = torch.tensor([[5.0, 4, 3, 2], [1, 1, 1, 1], [0, 9, 8, 7]])
    known = torch.tensor([[True, False, True, False], [False] * 4, [False, True, True, True]])
    # Without the known 5, the 3 stands behind the 4; a tie stands last; 0 is behind nothing that counts.
    assert filtered_ranks(scores, torch.tensor([2, 0, 0]), known).tolist() == [2, 4, 1]
    assert filtered_ranks(scores, torch.tensor([2, 0, 0]), torch.zeros_like(known)).tolist() == [3, 4, 4]


def test_link_metrics() -> None:
    found = link_metrics(torch.tensor([1, 2, 4, 20]))
    assert found == pytest.approx(
        {"mrr": (1 + 1 / 2 + 1 / 4 + 1 / 20) / 4, "hits@1": 0.25, "hits@3": 0.5, "hits@10": 0.75}
    )


def test_recommendation() -> None:
    scores = torch.tensor([[9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1]])
    wanted = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    known = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    # The first user's list is 1, 2, 3, 4: a hit at once, the other in place 3. The second's stands in place 5.
    found = recommendation_metrics(scores, wanted, known, at=2)
    ideal = 1 + 1 / math.log2(3)
    assert found == pytest.approx({"recall@2": 0.5 / 2, "ndcg@2": 1 / ideal / 2})
    found = recommendation_metrics(scores, wanted, known, at=3)
    assert found == pytest.approx({"recall@3": 1 / 2, "ndcg@3": (1 + 0.5) / ideal / 2})
    assert recommendation_metrics(torch.ones(3, 5), wanted, known, at=2)["recall@2"] == 0


def test_scores_that_are_not_numbers_are_refused() -> None:
    bad = torch.full((1, 3), torch.nan)
    with pytest.raises(UserError, match="NaN or infinite"):
        filtered_ranks(bad, torch.tensor([0]), torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(UserError, match="NaN or infinite"):
        recommendation_metrics(bad, torch.ones(1, 3).bool(), torch.zeros(1, 3).bool())


def test_fewer_items_than_places() -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    found = recommendation_metrics(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[False, True, False]]), none, at=20)
    assert found == pytest.approx({"recall@20": 1.0, "ndcg@20": 1 / math.log2(3)})
    wanted = torch.ones(1, 3, dtype=torch.bool)
    assert recommendation_metrics(torch.ones(1, 3), wanted, none, at=20)["ndcg@20"] == pytest.approx(1.0)


def test_a_list_without_places_or_users_is_refused() -> None:
    wanted = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(UserError, match="recommendation of 0 items to 1 users"):
        recommendation_metrics(torch.ones(1, 3), wanted, ~wanted, at=0)
    with pytest.raises(UserError, match="to 0 users"):
        recommendation_metrics(torch.ones(1, 3), ~wanted, ~wanted)
    with pytest.raises(UserError, match="at least one rank"):
        link_metrics(torch.zeros(0))
