"""Frames and scatter of classes against cases known by hand and plain loops."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.class_means import class_mean_metrics, class_means, frame_distance, scatter


def simplex(k: int) -> Tensor:
    return F.normalize(torch.eye(k, dtype=torch.float64) - 1 / k, dim=1)


def test_frames_are_at_0_and_known_distances_apart() -> None:
    for k in (2, 4, 10):
        axes = 3 * torch.eye(k, 12, dtype=torch.float64)
        assert frame_distance(axes) == pytest.approx(0, abs=1e-12)
        assert frame_distance(simplex(k), "simplex") == pytest.approx(0, abs=1e-12)
        # The Gram matrices of norm 1 have the inner product sqrt((k - 1) / k).
        apart = math.sqrt(2 - 2 * math.sqrt((k - 1) / k))
        assert frame_distance(axes, "simplex") == pytest.approx(apart)
        assert frame_distance(simplex(k)) == pytest.approx(apart)
    together = torch.ones(10, 3)
    assert frame_distance(together) == pytest.approx(1.1695, abs=1e-4)
    assert frame_distance(together, "simplex") == pytest.approx(math.sqrt(2))
    assert frame_distance(torch.zeros(4, 3)) == 1.0


def rows(seed: int, n: int = 60) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=draw) * (torch.rand(n, generator=draw) < 0.7)
    return 2 + torch.randn(n, 5, generator=draw) + 2 * torch.eye(3, 5)[labels], torch.tensor([2, 5, 9])[labels]


def test_scatter_is_that_of_a_loop() -> None:
    x, labels = rows(0)
    means = {c: x[labels == c].double().mean(0) for c in (2, 5, 9)}
    within = [float(((x[labels == c].double() - means[c]) ** 2).sum(1).mean()) for c in means]
    centre = sum(means.values()) / 3
    between = [float(((mean - centre) ** 2).sum()) for mean in means.values()]
    assert scatter(x, labels) == pytest.approx(sum(within) / (sum(within) + sum(between)), rel=1e-6)
    assert scatter(7 * x - 3, labels) == pytest.approx(scatter(x, labels), rel=1e-5)
    assert scatter(torch.eye(3)[labels % 3], labels) == 0.0
    assert scatter(torch.ones(60, 2), labels) == 1.0


def test_metrics_are_of_unit_rows_and_the_nearest_mean() -> None:
    (train, labels), (test, truth) = rows(1), rows(2, 40)
    found = class_mean_metrics(train, labels, test, truth)
    unit = train.double() / train.double().norm(dim=1, keepdim=True)
    means = [unit[labels == c].mean(0) for c in (2, 5, 9)]
    directions = [mean / mean.norm() for mean in means]
    named = [(2, 5, 9)[max(range(3), key=lambda k, row=row: float(row.double() @ directions[k]))] for row in test]
    assert found["top1"] == pytest.approx(sum(a == b for a, b in zip(named, truth.tolist(), strict=True)) / 40)
    assert found["top1"].items.shape == (40,)
    assert found["orthogonal_distance"] == pytest.approx(frame_distance(torch.stack(means)), rel=1e-6)
    assert found["frame_distance"] == min(found["orthogonal_distance"], found["simplex_distance"])
    cosines = [float(directions[a] @ directions[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found["largest_cosine"] == pytest.approx(max(cosines), rel=1e-6)
    assert found["scatter"] == pytest.approx(scatter(unit, labels), rel=1e-5)


def test_bad_inputs_are_named() -> None:
    x, labels = rows(0)
    with pytest.raises(UserError, match="all rows are of one class"):
        class_means(x, torch.zeros_like(labels))
    with pytest.raises(UserError, match="frame is 'tight'; it must be 'orthogonal' or 'simplex'"):
        frame_distance(x, "tight")
    with pytest.raises(UserError, match="NaN"):
        class_mean_metrics(x * torch.nan, labels, x, labels)
