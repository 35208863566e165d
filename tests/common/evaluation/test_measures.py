"""kNN, probe, correlation, verification and geometry against scikit-learn, plain loops and cases known by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from common.errors import UserError
from common.evaluation.geometry import (
    effective_rank,
    geometry_metrics,
    linear_separability,
    modality_gap,
    tolerance,
    uniformity_metric,
)
from common.evaluation.knn import knn_accuracy
from common.evaluation.probe import linear_probe_accuracy, linear_probe_metrics
from common.evaluation.similarity import spearman
from common.evaluation.verification import verification_metrics
from common.losses.geometry import uniformity
from tests.processes import on_processes


def classes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=draw)
    centres = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, 2.0]])
    return centres[labels] + 1.5 * torch.randn(n, 4, generator=draw), labels


def test_knn_equals_scikit_learn_with_the_same_weights():
    train, test = classes(150, 0), classes(80, 1)
    peer = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = peer.fit(*(x.numpy() for x in train)).score(*(x.numpy() for x in test))
    assert 0.4 < expected < 0.95
    assert knn_accuracy(*train, *test, k=20) == pytest.approx(expected)
    assert knn_accuracy(*train, *test, k=1) != pytest.approx(expected)


def test_one_near_neighbour_outvotes_two_that_are_less_near():
    train, labels = torch.tensor([[1.0, 0.0], [0.9, 0.436], [0.9, -0.436]]), torch.tensor([0, 1, 1])
    assert knn_accuracy(train, labels, torch.tensor([[2.0, 0.0]]), torch.tensor([0]), k=3) == 1.0


def test_probe_fits_on_the_training_split_alone():
    train, test = classes(150, 0), classes(80, 1)
    scaler = StandardScaler().fit(train[0].numpy())
    peer = LogisticRegression(C=0.1).fit(scaler.transform(train[0].numpy()), train[1].numpy())
    expected = peer.score(scaler.transform(test[0].numpy()), test[1].numpy())
    assert linear_probe_accuracy(*train, *test) == pytest.approx(expected)
    found = linear_probe_metrics(*train, *test)
    assert found["top1"] == pytest.approx(expected)
    probabilities = peer.predict_proba(scaler.transform(test[0].numpy()))
    of_right = np.log(probabilities[np.arange(80), test[1].numpy()])
    np.testing.assert_allclose(found["log_likelihood"].items, of_right, atol=2e-3)
    assert found["log_likelihood"] == pytest.approx(of_right.mean(), abs=1e-3)


def test_a_class_that_the_probe_never_saw_has_no_likelihood():
    train, labels = classes(150, 0)
    found = linear_probe_metrics(train, labels, train[:2], torch.tensor([99, int(labels[1])]))
    assert found["log_likelihood"].items[0] == pytest.approx(-87.3, abs=0.1)
    assert found["log_likelihood"].items[1] > -87  # ["log_likelihood"].items[1]
    assert found["top1"].items[0] == 0


def test_spearman_with_ties():
    predicted, human = torch.tensor([0.1, 0.4, 0.4, 0.9, 0.2]), torch.tensor([1.0, 3.0, 2.0, 5.0, 5.0])
    a, b = np.array([1, 3.5, 3.5, 5, 2]), np.array([1, 3, 2, 4.5, 4.5])
    assert spearman(predicted, human) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert spearman(torch.ones(5), human) == 0.0
    with pytest.raises(UserError, match="NaN"):
        spearman(predicted * math.nan, human)
    with pytest.raises(UserError, match=r"\(5,\) and \(4,\)"):
        spearman(predicted, human[:4])


def test_verification_by_hand():
    """At a threshold of 0.4 no target is missed and one of four others passes."""
    scores = torch.tensor([0.9, 0.8, 0.4, 0.7, 0.3, 0.2, 0.1])
    same = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    got = verification_metrics(scores, same, p_target=0.5)
    # Between (false alarms, misses) (1/4, 1/3) and (1/4, 0) the line meets the diagonal at 1/4.
    assert got["eer"] == pytest.approx(0.25)
    # The best of: reject below 0.8 (0.5 x 1/3), reject below 0.4 (0.5 x 1/4); in units of 0.5.
    assert got["min_dcf/p0.5"] == pytest.approx(0.25)


@pytest.mark.parametrize("ties", [False, True])
def test_verification_equals_a_search_over_all_thresholds(ties):
    draw = torch.Generator().manual_seed(3)
    same = torch.rand(300, generator=draw) < 0.4
    scores = torch.randn(300, generator=draw) + 1.5 * same
    scores = (2 * scores).round() if ties else scores
    points = []
    for threshold in [-math.inf, *sorted(set(scores.tolist())), math.inf]:
        accepted = scores >= threshold
        points.append((float((~accepted & same).sum() / same.sum()), float((accepted & ~same).sum() / (~same).sum())))
    got = verification_metrics(scores, same)
    assert got["min_dcf/p0.01"] == pytest.approx(min(0.01 * miss + 0.99 * alarm for miss, alarm in points) / 0.01)
    gaps = [miss - alarm for miss, alarm in points]
    i = next(i for i, gap in enumerate(gaps) if gap >= 0)
    weight = gaps[i] / (gaps[i] - gaps[i - 1])
    assert got["eer"] == pytest.approx(weight * points[i - 1][0] + (1 - weight) * points[i][0], abs=1e-6)


def test_verification_at_the_extremes():
    same = torch.tensor([1, 1, 0, 0])
    assert verification_metrics(torch.tensor([4.0, 3, 2, 1]), same)["eer"] == 0.0
    assert verification_metrics(torch.tensor([1.0, 2, 3, 4]), same) == {"eer": 1.0, "min_dcf/p0.01": 1.0}
    assert verification_metrics(torch.ones(4), same)["eer"] == pytest.approx(0.5)
    with pytest.raises(UserError, match="4 of 4"):
        verification_metrics(torch.rand(4), torch.ones(4))


def test_effective_rank_of_known_spectra():
    basis = torch.linalg.qr(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)))[0]
    assert effective_rank(basis) == pytest.approx(4, abs=1e-4)
    p = torch.tensor([0.5, 0.25, 0.25, 0.0])
    assert effective_rank(basis * p) == pytest.approx(2**1.5, abs=1e-4)
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.zeros(5, 3)) == 0.0


def test_modality_gap_of_known_centres():
    x = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    y = torch.tensor([[-1.0, 0.0], [0.0, 5.0], [0.0, 5.0], [-7.0, 0.0]])
    assert modality_gap(x, y) == pytest.approx(1.0)
    assert modality_gap(x, 4 * x) == pytest.approx(0.0)
    assert modality_gap(normalize_like(x), -x) == pytest.approx(math.sqrt(2))


def test_the_gap_of_pairs_is_a_mean_over_them():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 300, 5, generator=draw) + torch.tensor([0.5, -0.3])[:, None, None]
    found = modality_gap(x, y)
    assert found.items.shape == (300,) and found.items.mean() == pytest.approx(float(found), rel=1e-6)
    # What the items' spread says of the error is what other draws of the pairs show.
    drawn = torch.randint(300, (400, 300), generator=draw)
    others = torch.tensor([modality_gap(x[rows], y[rows]) for rows in drawn])
    assert float(found.items.std()) / 300**0.5 == pytest.approx(float(others.std()), rel=0.2)
    assert type(modality_gap(x, y[:200])) is float and modality_gap(x, x).items.abs().max() == 0


def test_uniformity_knows_the_influence_of_each_row():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    found = uniformity_metric(x)
    assert found == pytest.approx(float(uniformity(torch.nn.functional.normalize(x, dim=1))), abs=1e-6)
    assert found.items.mean() == pytest.approx(float(found))
    without = torch.tensor([uniformity_metric(torch.cat([x[:i], x[i + 1 :]])) for i in range(60)], dtype=torch.float64)
    # A row's influence is what the metric loses without it, times the number of rows.
    torch.testing.assert_close(60 * (found - without), found.items - found, atol=0.1, rtol=0.1)


def test_geometry_equals_the_formulas_on_one_process_and_two():
    draw = torch.Generator().manual_seed(4)
    x, y = torch.randn(6, 3, generator=draw), torch.randn(6, 3, generator=draw)
    a, b = normalize_like(x).double(), normalize_like(y).double()
    spread = []
    for side in (a, b):
        pairs = [float((-2 * (side[i] - side[j]).square().sum()).exp()) for i in range(6) for j in range(6) if i != j]
        spread.append(math.log(sum(pairs) / 30))
    expected = {
        "alignment": float((a - b).square().sum(1).mean()),
        "uniformity": sum(spread) / 2,
        "modality_gap": modality_gap(x, y),
        "effective_rank": effective_rank(torch.cat([a, b])),
    }

    def measured() -> dict[str, float]:
        return {name: float(value) for name, value in geometry_metrics(x, y).items()}

    for got in [measured(), *on_processes(2, measured)]:
        assert got == pytest.approx(expected, abs=1e-5)
    items = geometry_metrics(x, y)["uniformity"].items
    torch.testing.assert_close(items, (uniformity_metric(x).items + uniformity_metric(y).items) / 2, atol=1e-5, rtol=0)
    assert float(items.mean()) == pytest.approx(expected["uniformity"], abs=1e-6)


def normalize_like(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(normalize(x.numpy()))


def test_tolerance_is_the_mean_over_pairs_of_a_class():
    x, labels = classes(40, 3)
    labels[0] = 9  # alone
    unit = x.double() / x.double().norm(dim=1, keepdim=True)
    same = [(i, j) for i in range(40) for j in range(40) if i != j and labels[i] == labels[j]]
    found = tolerance(x, labels)
    assert found == pytest.approx(sum(float(unit[i] @ unit[j]) for i, j in same) / len(same), abs=1e-6)
    assert float(found.items.mean()) == pytest.approx(float(found)) and float(found.items[0]) == pytest.approx(found)
    # The spread of the items is the error over draws of the rows.
    values = [tolerance(*classes(200, seed)) for seed in range(60)]
    errors = [value.items.std() / math.sqrt(200) for value in values]
    assert float(np.std(values)) == pytest.approx(float(np.mean(errors)), rel=0.3)
    assert tolerance(torch.ones(6, 2), torch.tensor([0, 0, 1, 1, 1, 1])) == pytest.approx(1)
    with pytest.raises(UserError, match="tolerance of 3 rows of as many classes"):
        tolerance(torch.ones(3, 2), torch.arange(3))


def test_separability_is_the_accuracy_of_a_logistic_regression():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 200, 3, generator=draw)
    mingled, apart = linear_separability(x, y), linear_separability(x + 4, y - 4)
    assert apart == 1 and abs(mingled - 0.5) < 0.1 and len(mingled.items) == 40
    # Near each other, and yet apart: one thin coordinate tells.
    thin = torch.tensor([0.0, 0.0, 1.0])
    near = [side * (1 - thin) + 0.2 * way * thin for side, way in ((x, 1), (y, -1))]
    shown = [normalize(side.numpy()) for side in near]
    order = np.random.default_rng(0).permutation(200)
    peer = LogisticRegression().fit(np.concatenate([s[order[:160]] for s in shown]), [0] * 160 + [1] * 160)
    expected = np.mean([(peer.predict(s[order[160:]]) == n).mean() for n, s in enumerate(shown)])
    assert linear_separability(*near) == pytest.approx(expected) and expected > 0.8
    with pytest.raises(UserError, match="5 pairs at least"):
        linear_separability(x[:4], y[:4])
