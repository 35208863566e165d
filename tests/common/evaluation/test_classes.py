"""Scores by a gallery against plain loops in float64, and against cases known by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.evaluation.classes import class_chance, class_metrics, discriminant_log_likelihood, ridge_accuracy
from common.evaluation.means import Mean


def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes, numbered 2, 5 and 9, in a cone far from the origin."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=draw)
    centres = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, 2.0]])
    return centres[labels] + 8 + torch.randn(n, 4, generator=draw), torch.tensor([2, 5, 9])[labels]


def standardized(gallery: Tensor, x: Tensor) -> np.ndarray:
    """By the mean and deviation of the gallery, a column at a time."""
    out = np.empty(x.shape)
    for j in range(x.shape[1]):
        column = gallery[:, j].double().numpy()
        out[:, j] = (x[:, j].double().numpy() - column.mean()) / (column.std(ddof=1) + 1e-5)
    return out


def test_cosines_are_taken_around_the_centre_of_the_gallery() -> None:
    (gallery, labels), (test, truth) = rows(60, 0), rows(40, 1)
    centre = gallery.double().numpy().mean(0)
    votes, precisions, reciprocals = [], [], []
    for query, label in zip(test.double().numpy() - centre, truth.tolist(), strict=True):
        scored = []
        for key, other in zip(gallery.double().numpy() - centre, labels.tolist(), strict=True):
            scored.append((query @ key / np.linalg.norm(query) / np.linalg.norm(key), other))
        scored.sort(reverse=True)
        weight = {c: sum(math.exp(s / 0.07) for s, other in scored[:20] if other == c) for c in (2, 5, 9)}
        votes.append(max(weight, key=weight.get) == label)
        places = [place for place, (_, other) in enumerate(scored, 1) if other == label]
        precisions.append(np.mean([(k + 1) / place for k, place in enumerate(places)]))
        reciprocals.append(1 / places[0])
    found = class_metrics(gallery, labels, test, truth)
    np.testing.assert_array_equal(found["knn20_centred/top1"].items, votes)
    np.testing.assert_allclose(found["map_centred/gallery60"].items, precisions, atol=1e-9)
    np.testing.assert_allclose(found["mrr_centred/gallery60"].items, reciprocals, atol=1e-9)
    assert 0.4 < found["knn20_centred/top1"] < 0.95
    moved = class_metrics(gallery + 3, labels, test + 3, truth)
    assert moved == pytest.approx(found, abs=1e-3), "where the cone lies does not matter"


def test_ridge_equals_the_normal_equations() -> None:
    (gallery, labels), (test, truth) = rows(60, 0), rows(40, 1)
    z, q = standardized(gallery, gallery), standardized(gallery, test)
    ones = np.hstack([z, np.ones((60, 1))])
    penalty = np.diag([5.0] * 4 + [0.0])
    scores = []
    for c in (2, 5, 9):
        target = (labels == c).double().numpy()
        weights = np.linalg.solve(ones.T @ ones + penalty, ones.T @ target)
        scores.append(q @ weights[:4] + weights[4])
    right = np.array([2, 5, 9])[np.argmax(scores, axis=0)] == truth.numpy()
    found = ridge_accuracy(gallery, labels, test, truth)
    assert isinstance(found, Mean)
    np.testing.assert_array_equal(found.items, right)
    assert 0.5 < found < 0.95
    assert ridge_accuracy(gallery, labels, test, truth, penalty=1e6) <= found


def test_the_discriminant_equals_normal_densities() -> None:
    (gallery, labels), (test, truth) = rows(60, 0), rows(40, 1)
    z, q = standardized(gallery, gallery), standardized(gallery, test)
    means = {c: z[(labels == c).numpy()].mean(0) for c in (2, 5, 9)}
    covariance = 0.02 * np.eye(4)
    for row, c in zip(z, labels.tolist(), strict=True):
        covariance += np.outer(row - means[c], row - means[c]) / 60
    inverse, expected = np.linalg.inv(covariance), []
    for row, c in zip(q, truth.tolist(), strict=True):
        density = {k: math.exp(-0.5 * (row - mean) @ inverse @ (row - mean)) for k, mean in means.items()}
        expected.append(math.log(density[c] / sum(density.values())))
    found = discriminant_log_likelihood(gallery, labels, test, truth)
    np.testing.assert_allclose(found.items, expected, atol=1e-9)
    assert -0.7 < found < -0.1


def test_perfect_and_constant_embeddings() -> None:
    labels = torch.arange(5).repeat(30)
    found = class_metrics(torch.eye(5)[labels], labels, torch.eye(5)[labels], labels)
    assert found.pop("probe_discriminant/log_likelihood") > -0.01
    assert set(found.values()) == {1.0}
    constant = class_metrics(torch.full((150, 3), 0.1), labels, torch.full((150, 3), 0.1), labels)
    assert constant["probe_discriminant/log_likelihood"] == pytest.approx(-math.log(5))
    assert constant["knn20_centred/top1"] == constant["probe_ridge/top1"] == 0.2
    chance = class_chance(5, 30)
    assert constant.keys() == chance.keys()
    for name in ("map_centred/gallery150", "mrr_centred/gallery150"):
        assert constant[name] < chance[name], "ties count against the method"


@pytest.mark.parametrize(("classes", "per_class"), [(2, 3), (3, 2), (4, 1)])
def test_chance_is_the_mean_over_all_orders(classes: int, per_class: int) -> None:
    total = classes * per_class
    precision, reciprocal = [], []
    for places in itertools.combinations(range(1, total + 1), per_class):
        precision.append(np.mean([(k + 1) / place for k, place in enumerate(places)]))
        reciprocal.append(1 / places[0])
    chance = class_chance(classes, per_class)
    assert chance[f"map_centred/gallery{total}"] == pytest.approx(np.mean(precision))
    assert chance[f"mrr_centred/gallery{total}"] == pytest.approx(np.mean(reciprocal))


def test_what_does_not_fit_is_named() -> None:
    (gallery, labels), (test, truth) = rows(60, 0), rows(40, 1)
    with pytest.raises(UserError, match="two classes at least"):
        ridge_accuracy(gallery, torch.zeros_like(labels), test, truth)
    with pytest.raises(UserError, match="test row 3 is of class 7, of which there is no training row"):
        discriminant_log_likelihood(gallery, labels, test, truth.index_fill(0, torch.tensor([3]), 7))
    with pytest.raises(UserError, match="penalty"):
        ridge_accuracy(gallery, labels, test, truth, penalty=0)
    with pytest.raises(UserError, match="NaN"):
        class_metrics(gallery * math.nan, labels, test, truth)
    with pytest.raises(UserError, match="gallery_labels"):
        class_metrics(gallery, labels[:-1], test, truth)
