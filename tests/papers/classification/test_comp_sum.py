"""Comp-sum losses against plain loops, near their limits, and properties that fail where they should."""

import math

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from papers.classification.comp_sum import properties
from papers.classification.comp_sum.module import CompSum, comp_sum
from papers.classification.comp_sum.properties import adversarial, attained, best, bound, forced, risk, transformation


def drawn(classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(9, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (9,), generator=generator)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("classes", [2, 7])
def test_the_loss_is_that_of_a_loop(classes: int, tau: float) -> None:
    logits, labels = drawn(classes)
    expected = []
    for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
        u = sum(math.exp(f - row[y]) for j, f in enumerate(row) if j != y)
        expected.append(math.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - tau))
    found = CompSum(tau=tau, encoder="vector_tower", width=1).losses(logits, labels)
    assert found.tolist() == pytest.approx(expected, rel=1e-11)


def test_near_tau_1_and_for_sure_predictions_digits_are_kept() -> None:
    log_p = torch.tensor([-1e-12, -1e-3, -2.0, -30.0], dtype=torch.float64)
    for tau in (1 - 1e-9, 1 + 1e-9):
        torch.testing.assert_close(comp_sum(log_p, tau), -log_p, rtol=1e-7, atol=0)
    for tau in (0.0, 1.5, 2.0):
        assert float(comp_sum(log_p, tau)[0]) == pytest.approx(1e-12, rel=1e-9)


def test_a_hopeless_sample_pulls_more_below_tau_1_and_less_above() -> None:
    log_p = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
    slopes = [float(torch.autograd.grad(comp_sum(log_p, tau), log_p)[0]) for tau in (0.0, 1.0, 2.0)]
    assert slopes == pytest.approx([-math.exp(20), -1, -math.exp(-20)])


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_no_prediction_on_a_grid_beats_the_closed_forms(tau: float) -> None:
    """Of three classes, all predictions in steps of 1/84; the closed forms are at most a step's worth below."""
    parts = [(i, j, 84 - i - j) for i in range(85) for j in range(85 - i)]
    grid = (torch.tensor(parts, dtype=torch.float64) / 84).clamp(min=1e-9).log()
    for eta in ([0.6, 0.3, 0.1], [0.45, 0.35, 0.2], [0.5, 0.5, 0.0], [0.34, 0.33, 0.33]):
        chances = torch.tensor([eta], dtype=torch.float64)
        risks = risk(chances, grid, tau)
        least = float(risk(chances, best(chances, tau), tau))
        assert least - 1e-9 <= float(risks.min()) <= least + 0.02
        for wrong in (1, 2):
            allowed = grid[:, wrong] >= grid.amax(dim=1) - 1e-12
            found = float(risk(chances, forced(chances, torch.tensor([wrong]), tau), tau))
            assert found - 1e-6 <= float(risks[allowed].min()) <= found + 0.03
            assert found >= least


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_a_bound_that_is_one_per_cent_better_fails(tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bound(0)[f"tau_{tau:g}"] < 1e-9
    monkeypatch.setattr(properties, "transformation", lambda *given: 1.01 * transformation(*given))
    assert bound(0)[f"tau_{tau:g}"] > 1e-4
    assert attained(0)[f"tau_{tau:g}_n_10"] > 9e-3


def test_a_regret_of_nearly_1_is_not_lost_to_rounding() -> None:
    # Draw 6 has a class with all but 1e-17 of the chances: a regret that is rounded to 1 moved T_0 by 6e-9.
    assert max(bound(6).values()) < 1e-12


def test_between_1_and_2_the_bound_takes_the_number_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "transformation", lambda b, tau, n, *rest: transformation(b, tau, 1, *rest))
    assert bound(0)["tau_1.5"] > 1e-2 and bound(0)["tau_2"] > 1e-2


def test_a_smaller_factor_of_the_smooth_term_fails() -> None:
    assert max(adversarial(0).values()) == 0 < adversarial(0, nu=0.01)["tau_2"]


def test_what_is_out_of_range_is_refused() -> None:
    for tau in (-0.1, 2.1):
        with pytest.raises(UserError, match=rf"model.tau {tau}: expected a finite number at least 0 and at most 2"):
            CompSum(tau=tau)
    with pytest.raises(UserError, match=r"model.label_smoothing 0.1: expected a finite number at most 0"):
        CompSum(label_smoothing=0.1)
