"""The plug-in estimate of sufficiency, against exact values of worlds with few values."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.sufficiency import fitted_posterior, sufficiency_metrics
from common.population import Joint, chi_square, divergence, kullback_leibler

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def world() -> tuple[Joint, Tensor, Tensor]:
    """Ten values a and ten values b that are independent given three classes: their joint, p(c | a) and p(c | b)."""
    draw = torch.Generator().manual_seed(5)
    a, b = (torch.rand(2, 3, 10, generator=draw, dtype=torch.float64) ** 3).add(1e-3)
    a, b = (x / x.sum(dim=1, keepdim=True) for x in (a, b))
    one, other = (x.T * SHARES / (x.T @ SHARES)[:, None] for x in (a, b))
    return Joint.of_classes(SHARES, a, b), one, other


def drawn(p: Tensor, count: int, seed: int) -> Tensor:
    return torch.multinomial(p, count, replacement=True, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("groups", [10, 4, 2, 1])
def test_of_a_code_with_few_values_it_is_the_exact_loss(groups: int) -> None:
    joint, one, other = world()
    code = torch.arange(10) % groups
    fitted, asked, others = (drawn(p, 4000, seed) for seed, p in enumerate((joint.rows, joint.rows, joint.columns)))
    rows = F.one_hot(code, groups).float()
    found = sufficiency_metrics((rows[fitted], one[fitted]), (rows[asked], one[asked]), other[others], SHARES)
    for name, f in (("kl", kullback_leibler), ("chi2", chi_square)):
        exact = joint.information(f) - joint.merged(code).information(f)
        assert float(found[name]) == pytest.approx(exact, rel=0.1, abs=2e-3)
        assert len(found[name].items) == 4000


def test_a_line_that_bends_is_read() -> None:
    """Where the class is in a number but not in its size alone, what is said of it is near to what is known."""
    x = 6 * torch.rand(4000, 1, generator=torch.Generator().manual_seed(1)) - 3
    known = torch.cat([(x.sin() + 1) / 2, (1 - x.sin()) / 2], dim=1)
    said = fitted_posterior((x, known), x[:500])
    lost = float(divergence(known[:500].clamp(min=0), said).mean())
    assert lost < 0.03 < 0.1 < float(divergence(known[:500].clamp(min=0), known.mean(dim=0)).mean())
    torch.testing.assert_close(said.sum(dim=1), torch.ones(500, dtype=torch.float64))


def test_it_is_the_same_each_time_and_draws_nothing_of_others() -> None:
    joint, one, _ = world()
    at = drawn(joint.rows, 100, 0)
    before = torch.get_rng_state()
    with torch.inference_mode():  # as a benchmark may call it
        first, again = (fitted_posterior((one[at].float(), one[at]), one[at].float()) for _ in range(2))
    assert first.equal(again) and before.equal(torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fitted_posterior((torch.zeros(9, 2), torch.ones(8, 3)), torch.zeros(1, 2)), r"posteriors \(8, 3\)"),
        (lambda: fitted_posterior((torch.zeros(4, 2), torch.ones(4, 3)), torch.zeros(1, 2)), "8 at least"),
        (lambda: fitted_posterior((torch.full((9, 2), torch.nan), torch.ones(9, 3)), torch.zeros(1, 2)), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
