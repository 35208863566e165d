"""A quantity told from embeddings: against scikit-learn, and where the answer is known."""

import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from common.errors import UserError
from common.evaluation import regression
from common.evaluation.regression import PENALTIES, distance_correlation, regression_metrics, ridge_regression_metrics


def some(n: int, seed: int, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, 5, generator=draw) * torch.tensor([1.0, 10, 0.1, 1, 1]) + 3
    return rows, rows[:, 0] * 2 - rows[:, 1] / 5 + noise * torch.randn(n, generator=draw)


def test_against_scikit_learn() -> None:
    train, val, test = some(60, 0), some(50, 1), some(40, 2)
    scaler = StandardScaler().fit(train[0].double())
    # The scaler divides by the deviation over n, and not over n - 1, as a penalty that much larger does.
    shrunk = (60 - 1) / 60
    tried = []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty / shrunk).fit(scaler.transform(train[0].double()), train[1].double())
        said = [torch.from_numpy(model.predict(scaler.transform(rows.double()))) for rows in (val[0], test[0])]
        tried.append((float((said[0] - val[1]).abs().mean()), said[1]))
    said = min(tried, key=lambda one: one[0])[1]
    found = ridge_regression_metrics(train, val, test)
    assert found["mae"] == pytest.approx(float((said - test[1]).abs().mean()), abs=1e-4)
    assert found["r2"] == pytest.approx(
        1 - float((said - test[1]).square().mean() / test[1].var(correction=0)), abs=1e-4
    )
    assert all(len(value.items) == 40 for value in found.values())


def test_what_is_linear_is_told_and_what_is_unrelated_is_not() -> None:
    exact = ridge_regression_metrics(*(some(500, seed, noise=0) for seed in range(3)))
    assert exact["mae"] < 0.02 and exact["r2"] > 0.999 and exact["spearman"] > 0.999
    parts = [(torch.randn(300, 5), y) for _, y in (some(300, seed) for seed in range(3))]
    unrelated = ridge_regression_metrics(*parts)
    assert abs(unrelated["spearman"]) < 0.25 and unrelated["r2"] < 0.1


def test_validation_chooses_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty columns that say nothing, fitted on fifty rows, a large penalty is best."""
    draw = torch.Generator().manual_seed(0)
    parts = [(torch.randn(n, 40, generator=draw), torch.randn(n, generator=draw)) for n in (50, 400, 400)]
    chosen = ridge_regression_metrics(*parts)["r2"]
    monkeypatch.setattr(regression, "PENALTIES", (1.0,))
    assert chosen > -0.15 > -0.5 > ridge_regression_metrics(*parts)["r2"]


def test_a_collapsed_embedding_says_the_mean() -> None:
    parts = [(torch.ones(50, 3), y) for _, y in (some(50, seed) for seed in range(3))]
    found = ridge_regression_metrics(*parts)
    assert found["spearman"] == 0 and found["r2"] <= 0


def test_what_is_said_without_a_probe() -> None:
    truth = torch.tensor([1.0, 2, 3, 4])
    found = regression_metrics(torch.tensor([2.0, 2, 3, 7]), truth)
    assert (
        found["mae"] == 1
        and found["r2"] == pytest.approx(1 - (1 + 9) / 5)
        and found["mae"].items.tolist() == [1, 0, 0, 3]
    )
    assert found["spearman"] == pytest.approx(0.9487, abs=1e-4), "two are tied"
    assert regression_metrics(truth, truth)["spearman"] == pytest.approx(1)
    with pytest.raises(UserError, match=r"quantities that are said \(4, 1\): expected \(n,\)"):
        regression_metrics(truth[:, None], truth)


def test_distances_that_follow_a_quantity() -> None:
    angle = torch.linspace(0, 1.5, 20)
    rows = torch.stack([angle.cos(), angle.sin()], dim=1)
    partners = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    partners = torch.where(partners == torch.arange(20), partners.roll(1), partners)
    found = distance_correlation(rows * torch.rand(20, 1), angle, partners)
    assert found == pytest.approx(1.0, abs=0.01) and len(found.items) == 20
    assert distance_correlation(torch.ones(20, 2), angle, partners) == 0


def test_bad_quantities_are_named() -> None:
    rows, y = some(20, 0)
    with pytest.raises(UserError, match=r"val quantities \(19,\): expected \(20,\), one for each row"):
        ridge_regression_metrics((rows, y), (rows, y[1:]), (rows, y))
    with pytest.raises(UserError, match="all 20 train quantities are 1; nothing can be told of them"):
        ridge_regression_metrics((rows, torch.ones(20)), (rows, y), (rows, y))
    with pytest.raises(UserError, match="test quantities hold NaN"):
        ridge_regression_metrics((rows, y), (rows, y), (rows, y * torch.nan))
