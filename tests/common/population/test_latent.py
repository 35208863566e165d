"""Views that share a latent class, and Bregman divergences, against sums and plain arithmetic."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.population import (
    Joint,
    bregman,
    chi_square,
    kullback_leibler,
    ratio_of_posteriors,
    sufficiency_of_posteriors,
)


def posteriors(seed: int, rows: int) -> Tensor:
    p = torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    return p / p.sum(dim=1, keepdim=True)


def test_bregman_divergences_are_those_of_a_loop() -> None:
    p, q = [0.0, 0.3, 2.0, 1.0], [0.7, 1.4, 2.0, 0.2]
    kl = [(a * math.log(a / b) if a else 0.0) - a + b for a, b in zip(p, q, strict=True)]
    given = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    assert bregman(*given).tolist() == pytest.approx(kl, abs=1e-15)
    assert bregman(*given, chi_square).tolist() == pytest.approx([(a - b) ** 2 for a, b in zip(p, q, strict=True)])
    assert bregman(torch.zeros(2), torch.zeros(2), kullback_leibler).tolist() == [0, 0]
    assert bregman(given[0][:, None], given[1]).shape == (4, 4)


def test_the_ratio_is_that_of_the_joint_distribution() -> None:
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    a, b = (posteriors(seed, rows).T for seed, rows in ((1, 5), (2, 7)))
    a, b = (x / x.sum(dim=1, keepdim=True) for x in (a, b))
    joint = Joint.of_classes(shares, a, b)
    one, other = (x.T * shares / (x.T @ shares)[:, None] for x in (a, b))
    torch.testing.assert_close(ratio_of_posteriors(one, other, shares), joint.log_ratio.exp())


@pytest.mark.parametrize("f", [kullback_leibler, chi_square])
def test_the_loss_is_what_a_code_loses(f: Callable) -> None:
    """Of four values b, each as likely, so that each is drawn once."""
    shares = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    a = posteriors(3, 3)[:, :].repeat(1, 2)[:, :6]
    a = a / a.sum(dim=1, keepdim=True)
    b = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]], dtype=torch.float64)
    joint, code = Joint.of_classes(shares, a, b), torch.tensor([0, 0, 1, 1, 2, 2])
    assert joint.columns.tolist() == pytest.approx([0.25] * 4)
    one, other = (x.T * shares / (x.T @ shares)[:, None] for x in (a, b))
    said = torch.stack([(joint.rows[code == c] @ one[code == c]) / joint.rows[code == c].sum() for c in code])
    found = sufficiency_of_posteriors(one, said, other, shares, f)
    exact = joint.information(f) - joint.merged(code).information(f)
    assert float(joint.rows @ found) == pytest.approx(exact, rel=1e-12) and float(found.min()) >= 0
    worse = sufficiency_of_posteriors(one, said.roll(1, 1), other, shares, f)
    assert float(joint.rows @ worse) > 1.1 * exact
    none = sufficiency_of_posteriors(one, shares.expand(6, 3), other, shares, f)
    assert float(joint.rows @ none) == pytest.approx(joint.information(f), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), torch.ones(2, 4), torch.ones(3)), r"expected \(n, k\), \(m, k\) and \(k,\)"),
        ((torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0.5, 0.5, 0.0])), "every class needs one above 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ratio_of_posteriors(*arguments)
