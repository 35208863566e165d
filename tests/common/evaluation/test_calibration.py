"""Scores of logits against torchmetrics, scikit-learn and plain loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from common.errors import UserError
from common.evaluation.calibration import brier_score, calibration_error, classifier_metrics
from common.evaluation.means import Mean
from common.experiments.metrics import better


def logits(seed: int, n: int = 800, classes: int = 6, sure: float = 2.0) -> tuple[Tensor, Tensor]:
    """Of a classifier that is mostly right, and the surer the higher `sure`."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draw)
    scores = torch.randn(n, classes, generator=draw, dtype=torch.float64)
    return sure * (scores + 1.2 * torch.nn.functional.one_hot(labels, classes)), labels


@pytest.mark.parametrize("sure", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_calibration_error_is_torchmetrics(sure: float, bins: int) -> None:
    scores, labels = logits(0, sure=sure)
    expected = multiclass_calibration_error(scores.softmax(1), labels, num_classes=6, n_bins=bins, norm="l1")
    found = calibration_error(scores, labels, bins)
    assert isinstance(found, Mean) and found.items.shape == (800,)
    assert found == pytest.approx(float(expected), abs=1e-6)
    assert found > 0.01


def test_the_calibration_error_is_that_of_a_loop() -> None:
    """Each row's item is its share in its own bin's error."""
    scores, labels = logits(1, n=90)
    rows = [
        (max(row), row.index(max(row)) == y) for row, y in zip(scores.softmax(1).tolist(), labels.tolist(), strict=True)
    ]
    total, items = 0.0, [0.0] * 90
    for b in range(15):
        members = [i for i, (confidence, _) in enumerate(rows) if b / 15 <= confidence < (b + 1) / 15]
        gap = sum(rows[i][0] - rows[i][1] for i in members)
        total += abs(gap) / 90
        for i in members:
            items[i] = math.copysign(1, gap) * (rows[i][0] - rows[i][1])
    found = calibration_error(scores, labels)
    assert found == pytest.approx(total, abs=1e-12)
    np.testing.assert_allclose(found.items, items, atol=1e-12)


def test_the_brier_score_is_scikit_learns() -> None:
    scores, labels = logits(2)
    chances = scores.softmax(1).numpy()
    expected = sum(brier_score_loss(labels == c, chances[:, c]) for c in range(6))
    assert brier_score(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_one_who_is_sure_and_right_or_wrong() -> None:
    right = classifier_metrics(1000 * torch.eye(4), torch.arange(4), (torch.eye(4), torch.arange(4)))
    assert right["top1"] == 1 and right["brier"] == right["ece15"] == 0 and right["log_likelihood"] == 0
    wrong = classifier_metrics(50 * torch.eye(4), (torch.arange(4) + 1) % 4)
    assert wrong["top1"] == 0 and wrong["brier"] == pytest.approx(2) and wrong["ece15"] == pytest.approx(1)
    assert wrong["log_likelihood"] == pytest.approx(-50)


def test_a_temperature_fitted_elsewhere_makes_rates_comparable() -> None:
    """Logits three times as large believe something else and, at their own temperature, the same."""
    plain, large = (
        classifier_metrics(factor * logits(3)[0], logits(3)[1], (factor * logits(4)[0], logits(4)[1]))
        for factor in (1, 3)
    )
    assert large["log_likelihood"] < plain["log_likelihood"] - 0.1 and large["ece15"] > plain["ece15"] + 0.02
    assert large["log_likelihood_scaled"] == pytest.approx(plain["log_likelihood_scaled"], abs=1e-6)
    assert large["log_likelihood_scaled"] > large["log_likelihood"]
    assert large["ece15_scaled"] == pytest.approx(plain["ece15_scaled"], abs=1e-3)
    assert large["ece15_scaled"] < large["ece15"] - 0.02
    assert not {"log_likelihood_scaled", "ece15_scaled"} & classifier_metrics(*logits(3)).keys()
    assert all(isinstance(value, Mean) and len(value.items) == 800 for value in plain.values())


def test_which_way_is_better() -> None:
    directions = {name: better(f"classifier/{name}") for name in classifier_metrics(*logits(0), logits(1))}
    assert {name for name, way in directions.items() if way == "lower"} == {"brier", "ece15", "ece15_scaled"}


def test_what_cannot_be_scored_is_refused() -> None:
    scores, labels = logits(0)
    for measure in (brier_score, calibration_error, classifier_metrics):
        with pytest.raises(UserError, match="from 0 to 5"):
            measure(scores, labels + 1)
        with pytest.raises(UserError, match="NaN"):
            measure(scores * math.nan, labels)
    for measure in (brier_score, calibration_error):
        with pytest.raises(UserError, match=r"labels \(799,\): expected \(800,\)"):
            measure(scores, labels[1:])
        with pytest.raises(UserError, match=r"logits \(800,\): expected \(n, classes\)"):
            measure(scores[:, 0], labels)
    with pytest.raises(UserError, match="bins is 0; it must be at least 1"):
        calibration_error(scores, labels, 0)
