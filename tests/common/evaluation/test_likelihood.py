"""The likelihood of the right candidate against the definition, and the scale that makes it largest."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from common.errors import UserError
from common.evaluation.likelihood import fit_scale, log_likelihood

DRAW = torch.Generator().manual_seed(0)
SCORES = torch.randn(50, 20, generator=DRAW)
RIGHT = torch.randint(20, (50,), generator=DRAW)


def test_it_is_the_cross_entropy_of_the_scaled_scores() -> None:
    found = log_likelihood(SCORES, RIGHT, 3.0)
    assert found == pytest.approx(-torch.nn.functional.cross_entropy(3 * SCORES, RIGHT).item())
    assert found.items.shape == (50,) and found < 0
    assert log_likelihood(torch.ones(4, 8), torch.arange(4), 100.0) == pytest.approx(-math.log(8))


def test_several_right_candidates_share_the_likelihood() -> None:
    right = torch.zeros(50, 20, dtype=torch.bool)
    right[:, 3:6] = True
    expected = SCORES.softmax(1)[:, 3:6].sum(1).log()
    torch.testing.assert_close(log_likelihood(SCORES, right, 1.0).items.float(), expected)


@pytest.mark.parametrize("units", [1e-3, 1.0, 1e3])
def test_the_scale_that_made_the_choices_is_found(units: float) -> None:
    """Whatever the scores are measured in."""
    scores = torch.randn(4000, 10, generator=DRAW)
    chosen = torch.multinomial((2.5 * scores).softmax(1), 1, generator=DRAW)[:, 0]
    scale = fit_scale(units * scores, chosen)
    assert scale * units == pytest.approx(2.5, rel=0.05)
    best = log_likelihood(units * scores, chosen, scale)
    assert all(best >= log_likelihood(units * scores, chosen, factor * scale) for factor in (0.9, 0.99, 1.01, 1.1))


def test_a_library_finds_the_same_scale() -> None:
    """A bounded search of scipy over the logarithm of the temperature, in float64."""
    scores = 4 * torch.randn(500, 7, generator=DRAW).double()
    right = torch.randint(7, (500,), generator=DRAW).where(torch.rand(500, generator=DRAW) < 0.6, scores.argmax(dim=1))

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / math.exp(log_temperature), right))

    found = minimize_scalar(loss, bounds=(-5, 8), method="bounded", options={"xatol": 1e-10})
    assert found.success and abs(found.x) > 0.1
    # Near its top the likelihood is flat: half of the digits of its argument can be told.
    assert 1 / fit_scale(scores, right) == pytest.approx(math.exp(found.x), rel=1e-6)


def test_scales_at_the_ends_are_finite() -> None:
    assert fit_scale(torch.ones(4, 4), torch.arange(4)) == 1.0
    perfect = fit_scale(torch.eye(4), torch.arange(4))
    assert math.isfinite(perfect) and log_likelihood(torch.eye(4), torch.arange(4), perfect) > -1e-6
    inverted = fit_scale(-torch.eye(4), torch.arange(4))
    assert inverted > 0 and log_likelihood(-torch.eye(4), torch.arange(4), inverted) == pytest.approx(
        -math.log(4), abs=1e-3
    )


def test_what_cannot_be_scored_is_refused() -> None:
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match=r"scale .*: expected a finite number above 0"):
            log_likelihood(SCORES, RIGHT, scale)
    with pytest.raises(UserError, match="query 0 has no right candidate"):
        fit_scale(SCORES, torch.zeros(50, 20, dtype=torch.bool))
    with pytest.raises(UserError, match="columns from 0 to 19"):
        log_likelihood(SCORES, RIGHT + 1 + 18 * (RIGHT > 0), 1.0)
    for right in (RIGHT[:, None], RIGHT[:-1], RIGHT.float()):
        with pytest.raises(UserError, match="right candidates"):
            log_likelihood(SCORES, right, 1.0)
