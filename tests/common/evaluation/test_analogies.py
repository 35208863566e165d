"""Analogies: what the released evaluation gave on the same vectors, loops, and vectors whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.analogies import analogy_metrics, mean_similarity, pairing_consistency, shuffled, three_cos_add
from common.random import normal

PAIRS = torch.stack([torch.arange(12), torch.arange(12, 24)], dim=1)
# The shuffles that narutatsuri/cwm's evaluation/util drew for these vectors, and what it and scikit-learn made of them.
ORDERS = torch.tensor([
    [7, 5, 1, 9, 11, 4, 8, 2, 0, 10, 6, 3], [6, 8, 4, 11, 9, 10, 2, 3, 0, 7, 5, 1],
    [8, 4, 3, 6, 5, 7, 0, 11, 1, 10, 9, 2], [6, 8, 7, 11, 5, 10, 1, 0, 4, 2, 3, 9],
    [3, 2, 5, 11, 9, 6, 8, 10, 7, 1, 0, 4], [4, 10, 7, 1, 11, 3, 8, 2, 5, 0, 6, 9],
])  # fmt: skip


def released() -> Tensor:
    rows = np.random.RandomState(11).standard_normal((24, 6))
    rows[12:] += rows[:12] * 0.8 + 1.5
    return torch.from_numpy(rows)


def test_pairs_are_as_consistent_as_released() -> None:
    """The mean of the areas of all shuffles; the released one is that of curves drawn on a grid, and a little lower."""
    found = pairing_consistency(released(), PAIRS, ORDERS)
    assert float(found) == pytest.approx(0.8049433731251913, abs=1e-12)
    assert float(found) == pytest.approx(0.8043390130258818, abs=1e-3)
    assert len(found.items) == 12 and float(found.items.mean()) == pytest.approx(float(found), abs=1e-12)


def test_similarity_to_the_mean_is_that_of_the_notebook() -> None:
    """The helper beside it leaves the mean as it is, and gives the square, 0.7776."""
    found = mean_similarity(released(), PAIRS)
    assert float(found) == pytest.approx(0.881802093440252, abs=1e-12)
    assert float(found) ** 2 == pytest.approx(0.7775749319956109, abs=1e-12)


def test_an_area_is_that_of_a_loop_with_ties() -> None:
    rows = torch.tensor([[0.0, 0], [0, 0], [1, 0], [0, 0], [0, 1], [0, 2], [4, 0], [-1, 0]])
    pairs, order = torch.tensor([[0, 4], [1, 5], [2, 6], [3, 7]]), torch.tensor([[1, 2, 0, 2]])

    def cosines(ends: Tensor) -> list[float]:
        unit = F.normalize(rows[ends] - rows[pairs[:, 0]], dim=1).double()
        return [float(unit[i] @ unit[j]) for i in range(4) for j in range(i + 1, 4)]

    true, mixed = cosines(pairs[:, 1]), cosines(pairs[order[0], 1])
    wins = [(a > b) + 0.5 * (a == b) for a in true for b in mixed]
    assert any(a == b for a in true for b in mixed) and 0 < sum(wins) < len(wins)
    assert float(pairing_consistency(rows, pairs, order)) == pytest.approx(sum(wins) / len(wins), abs=1e-9)


def test_no_shuffled_pair_is_a_true_one() -> None:
    pairs = torch.tensor([[0, 5], [1, 6], [2, 5], [3, 7], [4, 8], [9, 10]])
    orders = shuffled(pairs, 30, 3)
    assert orders.shape == (30, 6) and orders.sort(dim=1).values.equal(torch.arange(6).expand(30, 6))
    assert (pairs[orders, 1] != pairs[:, 1]).all() and len(orders.unique(dim=0)) > 20
    with pytest.raises(UserError, match="a relation of 3 pairs has no 5 orders"):
        shuffled(torch.tensor([[0, 5], [1, 5], [2, 6]]), 5, 0)


def test_an_analogy_is_asked_of_all_words_but_the_three() -> None:
    """Two relations on a grid: 0, 1, 2 lead to 3, 4, 5; word 6 lies where 0 and 3 lead 2."""
    rows = torch.tensor(
        [[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1.0, 1.0, 0.8], [0.414, 0.707, 0.707]]
    )
    pairs = torch.stack([torch.arange(3), torch.arange(3, 6)], dim=1)
    unit = F.normalize(rows, dim=1)

    def rank(shown: int, asked: int) -> int:
        (a, b), (c, d) = pairs[shown].tolist(), pairs[asked].tolist()
        scores = F.normalize(unit[b] - unit[a] + unit[c], dim=0) @ unit.T
        return 1 + sum(float(scores[w]) >= float(scores[d]) for w in range(7) if w not in (a, b, c, d))

    ranks = [[rank((asked + step) % 3, asked) for step in (1, 2)] for asked in range(3)]
    mrr, top1 = three_cos_add(rows, pairs)
    assert mrr.items.tolist() == pytest.approx([sum(1 / r for r in found) / 2 for found in ranks])
    assert top1.items.tolist() == [sum(r == 1 for r in found) / 2 for found in ranks] and 0 < top1 < 1


def test_parallel_lines_have_it_all_and_noise_nothing() -> None:
    base = normal(torch.arange(60), 10, 1)
    relations = [torch.arange(20)[:, None] + torch.tensor([start, 60 + start]) for start in (0, 20, 40)]
    step = normal(torch.arange(3), 10, 2).repeat_interleave(20, dim=0)
    found = analogy_metrics(torch.cat([base, base + step]), relations, 0)
    assert found["pcs/relation"] == found["pcs/pair"] == 1 and found["msm/pair"] > 0.999
    assert len(found["pcs/relation"].items) == 3 and len(found["pcs/pair"].items) == 60
    noise = analogy_metrics(normal(torch.arange(120), 10, 3), relations, 0)
    assert noise["pcs/relation"] == pytest.approx(0.5, abs=0.08) and noise["three_cos_add/top1"] < 0.1
    # Lengths count in offsets, unless all are 1.
    long = torch.cat([base, base + step]) * (1 + torch.arange(120) % 7)[:, None]
    bent = analogy_metrics(long, relations, 0)
    assert bent["pcs/relation"] < 0.9
    assert bent["pcs_unit/relation"] == pytest.approx(float(found["pcs_unit/relation"]), abs=1e-6)
