"""Alignment error rate, by hand; links of two directions joined as in the released code of MirrorAlign."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.evaluation.alignment import alignment_metrics, grow_links


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


def test_the_items_tell_the_error_of_a_ratio() -> None:
    """Taken over sentences drawn with replacement, the ratio spreads as the mean of its items does."""
    draw = torch.Generator().manual_seed(0)
    sure = [{(i, i) for i in range(int(n))} for n in torch.randint(1, 9, (200,), generator=draw)]
    predicted = [{(i, i + int(torch.rand(1, generator=draw) < 0.3)) for i, _ in links} for links in sure]
    found = alignment_metrics(predicted, sure)
    spread = {name: [] for name in found}
    for _ in range(200):
        rows = torch.randint(200, (200,), generator=draw).tolist()
        again = alignment_metrics([predicted[i] for i in rows], [sure[i] for i in rows])
        for name, value in again.items():
            spread[name].append(float(value))
    for name, value in found.items():
        assert value.items.mean().item() == pytest.approx(value)
        error = value.items.std().item() / 200**0.5
        assert torch.tensor(spread[name]).std().item() == pytest.approx(error, rel=0.2)


def test_without_sure_links_there_is_nothing_to_align_to() -> None:
    with pytest.raises(UserError, match="at least one sure link"):
        alignment_metrics([{(0, 0)}], [set()], [{(0, 0)}])
    with pytest.raises(UserError, match="alignment of 1 sentences against links of 2"):
        alignment_metrics([set()], [{(0, 0)}, set()])


GROWN = json.loads((Path(__file__).parents[2] / "golden" / "alignment" / "synalign_links.json").read_text())["cases"]


@pytest.mark.parametrize("case", GROWN, ids=lambda case: str(case["shape"]))
def test_links_grow_as_in_the_released_code(case: dict) -> None:
    drawn = torch.tensor(case["times"] * np.random.RandomState(case["seed"]).standard_normal(case["shape"]))
    maps = drawn.softmax(1), drawn.softmax(0)
    assert grow_links(*maps) == {*map(tuple, case["final"])}
    assert grow_links(*maps, final=False) == {*map(tuple, case["grown"])} >= {*map(tuple, case["both"])}


def test_a_link_grows_only_beside_another_and_only_for_a_word_without_one() -> None:
    by_source, by_target = torch.zeros(2, 3, 4)
    by_source[0, 0] = by_target[0, 0] = 0.9
    by_target[1, 1] = 0.5  # beside the link of both, its words free
    by_target[0, 3] = 0.6  # far away, its target word free
    assert grow_links(by_source, by_target, final=False) == {(0, 0), (1, 1)}
    assert grow_links(by_source, by_target) == {(0, 0), (1, 1), (0, 3)}
    by_source[1, 0] = 0.4  # proposed by one side, and both its words have links
    assert grow_links(by_source, by_target) == {(0, 0), (1, 1), (0, 3)}


def test_no_score_proposes_nothing() -> None:
    assert grow_links(torch.zeros(2, 2), torch.zeros(2, 2)) == set()
    assert grow_links(torch.zeros(0, 2), torch.zeros(0, 2)) == set()
    with pytest.raises(UserError, match=r"maps \(2, 3\) and \(3, 2\): expected \(n, m\) of both"):
        grow_links(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(UserError, match="scores of links hold NaN"):
        grow_links(torch.ones(2, 2), torch.tensor([[1.0, float("nan")], [0.0, 0.0]]))
