"""The framework: losses that are one against plain loops, ceilings that a wrong count breaks, two places to read."""

import math

import pytest
import torch
from torch import Tensor

from common.losses import info_nce, sup_con
from papers.theory.crl_framework import properties
from papers.theory.crl_framework.module import Framework
from papers.theory.crl_framework.properties import ceiling_of, drawn, gap, gaussians_of, identities, info_nce_of_one
from papers.vision_ssl.simclr.module import SimCLR


def small() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    sides = [torch.randn(4, 3, generator=draw, dtype=torch.float64) for _ in range(2)]
    return tuple(torch.nn.functional.normalize(side, dim=1).requires_grad_() for side in sides)


@torch.no_grad()
def softplus_triplets(a: Tensor, b: Tensor) -> float:
    n = len(a)
    return sum(math.log1p(math.exp(float(a[i] @ (b[(i + 1) % n] - b[i])))) for i in range(n)) / n


@torch.no_grad()
def n_pair(a: Tensor, b: Tensor) -> float:
    n = len(a)
    terms = [sum(math.exp(float(a[i] @ (b[j] - b[i]))) for j in range(n) if j != i) for i in range(n)]
    return sum(map(math.log1p, terms)) / n


@torch.no_grad()
def two_views(a: Tensor, b: Tensor, t: float) -> float:
    z, n = [*a, *b], len(a)
    total = 0.0
    for i in range(2 * n):
        weights = [math.exp(float(z[i] @ z[j]) / t) for j in range(2 * n) if j != i]
        total += math.log(sum(weights)) - float(z[i] @ z[(i + n) % (2 * n)]) / t
    return total / (2 * n)


@torch.no_grad()
def triplets_of_distances(a: Tensor, b: Tensor) -> float:
    total, n = 0.0, len(a)
    for i in range(n):
        far = b[i - 1]
        for anchor, positive in ((a[i], b[i]), (b[i], a[i])):
            difference = (anchor - positive).square().sum() - (anchor - far).square().sum()
            total += math.log1p(math.exp(float(difference)))
    return total / (2 * n)


def test_both_sides_of_each_identity_are_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, values = *small(), {}
    monkeypatch.setattr(properties, "drawn", lambda seed: (a, b, 0.3))

    def keep(one, other, x: Tensor, y: Tensor) -> float:
        values[len(values)] = (float(one(x, y).detach()), float(other(x, y).detach()))
        return gap(one, other, x, y)

    monkeypatch.setattr(properties, "gap", keep)
    found = dict(zip(identities(0), values.values(), strict=True))
    expected = {
        "soft triplet": softplus_triplets(a, b),
        "squared distances": triplets_of_distances(a, b),
        "N-pair": n_pair(a, b),
        "two views, outside": two_views(a, b, 0.3),
        "two views, inside": two_views(a, b, 0.3),
        "two views, all candidates": two_views(a, b, 0.3),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx((value, value), rel=1e-12), name


def test_the_identities_hold() -> None:
    assert max(max(identities(seed).values()) for seed in range(6)) < 1e-11


def test_inputs_are_of_the_sizes_that_are_promised() -> None:
    found = [drawn(seed) for seed in range(40)]
    rows, widths = {len(a) for a, _, _ in found}, {a.shape[1] for a, _, _ in found}
    assert 2 <= min(rows) < 4 and 32 < max(rows) <= 64 and 2 <= min(widths) < 4 and 16 < max(widths) <= 32
    assert all(0.05 <= t <= 1 for _, _, t in found)


def test_another_temperature_or_shared_labels_are_another_loss() -> None:
    a, b = small()
    far = b.roll(1, dims=0)
    at = [lambda x, y, t=t: info_nce_of_one(x, y, far.detach(), t) for t in (0.5, 1.0)]
    assert gap(*at, a, b) > 1e-2
    own, shared = torch.arange(4).repeat(2), torch.tensor([0, 0, 1, 1]).repeat(2)
    by_label = [lambda x, y, la=la: sup_con(torch.cat([x, y]), la, temperature=0.3) for la in (own, shared)]
    assert gap(*by_label, a, b) > 1e-2
    # Of the same value, another gradient: a constant in place of the negatives.
    stopped = [
        lambda x, y: info_nce(x, y, temperature=1.0),
        lambda x, y: info_nce(x, y.detach() + 0 * y, temperature=1.0),
    ]
    assert gap(*stopped, a, b) > 1e-2


def test_the_optima_hold() -> None:
    assert max(properties.optimum(0).values()) < 1e-11


def test_more_candidates_than_there_are_break_the_ceiling() -> None:
    assert max(ceiling_of(1).values()) < 1e-10
    wrong = ceiling_of(1, more=1)
    assert wrong["candidates"] > 0.1 and wrong["information"] > 0.01 and wrong["falling"] > 0.01


def test_they_break_that_of_the_gaussians_too() -> None:
    assert max(gaussians_of(0).values()) == 0.0
    assert gaussians_of(0, more=1)["above"] > 0.1


def module(read: str) -> Framework:
    torch.manual_seed(0)
    return Framework(read=read, width=8, projection_dim=6).eval()


def test_one_network_is_read_in_two_places() -> None:
    below, behind = module("encoder"), module("head")
    assert all(torch.equal(p, q) for p, q in zip(below.parameters(), behind.parameters(), strict=True))
    pixels = torch.randint(256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    v, z = below.embed_image(pixels), behind.embed_image(pixels)
    assert v.shape == (3, below.network.encoder.output_dim) and z.shape == (3, 6)
    torch.testing.assert_close(z, below.network.head(v))
    torch.manual_seed(0)
    torch.testing.assert_close(v, SimCLR(width=8, projection_dim=6).eval().embed_image(pixels))
