import math

import pytest
import torch

from common.errors import UserError
from common.losses import alignment, cross_uniformity, info_nce, uniformity
from common.losses.examples import generator, unit


def test_values_at_the_ends() -> None:
    same = torch.ones(4, 3) / math.sqrt(3)
    assert uniformity(same).item() == pytest.approx(0.0, abs=1e-6)
    assert alignment(same, same).item() == 0.0
    # Two opposite points: distance 2, and -t d^2 = -8.
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == pytest.approx(-8.0)
    with pytest.raises(UserError, match=r"^uniformity of 1 vector: expected at least 2$"):
        uniformity(same[:1])
    with pytest.raises(UserError, match=r"^cross-uniformity of 1 pair: expected at least 2$"):
        cross_uniformity(same[:1], same[:1])


def test_coincident_pairs_have_a_finite_gradient() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    (alignment(x, torch.ones(3, 2), alpha=1.0) + uniformity(x)).backward()
    assert x.grad.abs().max() == 0.0


def test_info_nce_tends_to_alignment_plus_log_mean_potential() -> None:
    # Theorem 1: with many negatives, L - log n -> -E[s+ / t] + E log E exp(s- / t); here the batch is the distribution.
    draw = generator(0)
    key, t = unit(draw, 4000), 0.5
    query = torch.nn.functional.normalize(key + 0.3 * unit(draw, 4000), dim=1)
    limit = -(1 - alignment(query, key) / 2) / t + ((query @ key.T / t).logsumexp(dim=1) - math.log(4000)).mean()
    torch.testing.assert_close(info_nce(query, key, temperature=t) - math.log(4000), limit)


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_below_an_exponent_of_1_coincident_pairs_have_no_gradient(alpha: float) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    value = alignment(x, y, alpha=alpha)
    value.backward()
    assert value.item() == pytest.approx(5**alpha / 2)
    slope = alpha * 5 ** (alpha - 1) / 2
    torch.testing.assert_close(x.grad, slope * torch.tensor([[0.0, 0.0], [0.6, 0.8]], dtype=torch.float64))


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_uniformity_does_not_depend_on_where_the_cloud_stands(offset: float) -> None:
    x = (unit(generator(1), 300) + offset).float().requires_grad_()
    exact = x.detach().double().requires_grad_()
    energy = -2 * (exact[:, None] - exact).square().sum(2)
    expected = (energy.exp().sum() - 300).div(300 * 299).log()
    value = uniformity(x)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)
    (ours,), (theirs,) = torch.autograd.grad(value, x), torch.autograd.grad(expected, exact)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-6)
    assert uniformity(torch.full((5, 3), offset)) == pytest.approx(0.0, abs=1e-5)


def test_cross_uniformity_leaves_out_pairs_alone() -> None:
    # Two pairs that coincide, at opposite points: only distances of 2 count. Two sides that are opposite: none counts.
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert cross_uniformity(ends, ends).item() == pytest.approx(-8.0)
    assert cross_uniformity(ends, -ends).item() == pytest.approx(0.0, abs=1e-6)
    x, y = unit(generator(2), 50), unit(generator(3), 50)
    far = cross_uniformity(x + 1e4, y + 1e4)
    torch.testing.assert_close(far, cross_uniformity(x, y), rtol=1e-6, atol=1e-6)
