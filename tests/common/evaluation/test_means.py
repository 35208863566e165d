"""Means that carry their items, and ratios that do."""

import copy
import json
import pickle

import pytest
import torch

from common.evaluation.means import Mean, average, both, by_group, ratio


def test_a_mean_is_a_float_that_keeps_its_items_when_copied() -> None:
    mean = Mean(torch.tensor([1, 0, 1, 1], dtype=torch.bool))
    assert mean == 0.75 and json.dumps({"a": mean}) == '{"a": 0.75}' and f"{mean:.1f}" == "0.8"
    for again in (copy.deepcopy(mean), pickle.loads(pickle.dumps(mean))):
        assert again == 0.75 and again.items.tolist() == [1, 0, 1, 1]
    for wrong in ([], torch.ones(2, 2)):
        with pytest.raises(ValueError, match="n at least 1"):
            Mean(wrong)


def test_the_mean_of_two_sides_is_over_the_units_they_share() -> None:
    assert both(Mean([1.0, 0.0]), Mean([1.0, 1.0])).items.tolist() == [1.0, 0.5]
    value = both(Mean([1.0, 0.0]), Mean([1.0, 1.0, 1.0]))
    assert value == 0.75 and not isinstance(value, Mean)


def test_the_items_of_a_ratio_have_it_for_their_mean() -> None:
    value = ratio([1, 0, 3], [2, 1, 3])
    assert value == pytest.approx(4 / 6) and value.items.mean().item() == pytest.approx(4 / 6)
    assert ratio([2, 1, 3], [2, 1, 3]).items.tolist() == [1.0, 1.0, 1.0]


def test_the_average_of_draws_keeps_the_items_where_all_have_as_many() -> None:
    draws = [Mean([0.0, 1.0, 1.0]), Mean([1.0, 1.0, 0.0]), Mean([0.0, 1.0, 0.0])]
    found = average(draws)
    assert isinstance(found, Mean) and found == pytest.approx(5 / 9)
    assert found.items.tolist() == pytest.approx([1 / 3, 1.0, 1 / 3])
    assert not isinstance(average([draws[0], Mean([1.0])]), Mean) and not isinstance(average([draws[0], 0.5]), Mean)
    assert average([0.25, 0.75]) == 0.5


def test_a_mean_by_groups_is_the_same_with_an_item_a_group() -> None:
    even = by_group(Mean([1.0, 0.0, 0.5, 0.0]), torch.tensor([7, 3, 7, 3]))
    assert even == 0.375 and even.items.tolist() == [0.0, 0.75]
    uneven = by_group(Mean([1.0, 0.0, 1.0]), torch.tensor([0, 1, 0]))
    assert uneven == pytest.approx(2 / 3) and uneven.items.mean().item() == pytest.approx(2 / 3)
    assert len(uneven.items) == 2 and uneven.items[0] > uneven.items[1]
    assert by_group(Mean([0.1, 0.2, 0.3], value=0.7), torch.tensor([0, 1, 0])) == 0.7
