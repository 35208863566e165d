"""Main parts of classes against all subsets, and distances against loops."""

import itertools

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.evaluation.concentration import augmented_distance, concentration


def largest(distance: Tensor, delta: float, mass: list[float]) -> float:
    """Over all subsets."""
    best = 0.0
    for size in range(1, len(mass) + 1):
        for chosen in itertools.combinations(range(len(mass)), size):
            if all(distance[i, j] <= delta for i, j in itertools.combinations(chosen, 2)):
                best = max(best, sum(mass[i] for i in chosen))
    return best / sum(mass)


def test_distances_are_of_the_nearest_views() -> None:
    views = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    found = augmented_distance(views)
    for i, j in itertools.product(range(5), range(5)):
        loop = min(float((views[a, i] - views[b, j]).norm()) for a in range(3) for b in range(3)) if i != j else 0.0
        assert float(found[i, j]) == pytest.approx(loop, abs=1e-6)


def test_the_main_part_is_the_heaviest_of_all_subsets() -> None:
    exact = 0
    for seed in range(12):
        draw = torch.Generator().manual_seed(seed)
        distance = augmented_distance(torch.randn(2, 18, 2, generator=draw))
        labels, weights = torch.arange(18) % 2, torch.rand(18, generator=draw) + 0.1
        expected = min(
            largest(distance[labels == c][:, labels == c], 0.8, weights[labels == c].tolist()) for c in (0, 1)
        )
        found = concentration(distance, labels, 0.8, weights)
        assert found <= expected + 1e-6
        exact += found > expected - 1e-6
    # Greedy: never too large, and seldom too small.
    assert exact >= 10


def test_two_clusters_of_a_class_are_two_parts() -> None:
    points = torch.cat([torch.zeros(30, 1), torch.full((10, 1), 5.0), torch.full((20, 1), 9.0)])
    labels = torch.tensor([0] * 40 + [1] * 20)
    distance = torch.cdist(points, points)
    assert concentration(distance, labels, 1.0) == pytest.approx(0.75)
    assert concentration(distance, labels, 5.0) == 1
    # Points on a line, each near the next alone: pairs, though all hang together.
    line = torch.arange(6.0)[:, None]
    assert concentration(torch.cdist(line, line), torch.zeros(6).long(), 1.0) == pytest.approx(2 / 6)


def test_bad_input_is_named() -> None:
    with pytest.raises(UserError, match="expected a symmetric matrix"):
        concentration(torch.ones(3, 3).triu(1), torch.zeros(3).long(), 1.0)
    with pytest.raises(UserError, match="delta -1"):
        concentration(torch.zeros(3, 3), torch.zeros(3).long(), -1.0)
    with pytest.raises(UserError, match="all above 0"):
        concentration(torch.zeros(3, 3), torch.zeros(3).long(), 1.0, torch.zeros(3))
    with pytest.raises(UserError, match=r"views \(3, 2\): expected \(v, n, d\)"):
        augmented_distance(torch.zeros(3, 2))
