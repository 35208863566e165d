"""Expectations under known distributions, against sums over every outcome and identities of information theory."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.losses import spectral_contrastive
from common.population import (
    Joint,
    chi_square,
    divergence,
    info_nce,
    info_nce_limit,
    kullback_leibler,
    linear_minimizer,
    linear_minimizer_of_samples,
    multisets,
    spectral,
    triplet,
)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(seed: int, *shape: int) -> Tensor:
    p = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2
    return p / p.sum(-1, keepdim=True)


def enumerated(scores: Tensor, p: Tensor, negatives: int, noise: Tensor) -> Tensor:
    """InfoNCE as a sum over every pair and every tuple of negatives."""
    total = torch.zeros((), dtype=torch.float64)
    n, m = p.shape
    for a, b in itertools.product(range(n), range(m)):
        for drawn in itertools.product(range(m), repeat=negatives):
            chance = math.prod(float(noise[a, k]) for k in drawn)
            total = total + p[a, b] * chance * (scores[a, [b, *drawn]].logsumexp(0) - scores[a, b])
    return total


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_info_nce_is_the_sum_over_all_draws(negatives: int, scale: float) -> None:
    joint, scores = Joint.drawn(1, 3, 4, concentration=0.4), (scale * normal(2, 3, 4)).requires_grad_()
    for noise in (None, shares(3, 4), shares(4, 3, 4)):
        law = (joint.columns if noise is None else noise).expand(3, 4)
        found, expected = info_nce(scores, joint, negatives, noise), enumerated(scores, joint.p, negatives, law)
        assert found.item() == pytest.approx(expected.item(), abs=1e-12, rel=1e-12)
        gradients = [torch.autograd.grad(loss, scores, allow_unused=True)[0] for loss in (found, expected)]
        assert torch.dist(*(torch.zeros(3, 4) if g is None else g for g in gradients)) < 1e-11


def test_info_nce_leaves_out_what_cannot_be_drawn() -> None:
    p = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    noise = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    scores = torch.tensor([[1.0, 5000.0], [-torch.inf, 2.0]], dtype=torch.float64, requires_grad=True)
    for loss in (info_nce(scores, Joint(p), 7, noise), info_nce_limit(scores, Joint(p), noise) + math.log(8)):
        assert loss.item() == pytest.approx(math.log(8), abs=1e-12)
        assert torch.autograd.grad(loss, scores)[0].isfinite().all()


def test_many_negatives_tend_to_the_limit() -> None:
    joint, scores = Joint.drawn(5, 6, 5), 2 * normal(6, 6, 5)
    limit = float(info_nce_limit(scores, joint))
    off = [abs(float(info_nce(scores, joint, k)) - math.log(k) - limit) for k in (10**2, 10**4, 10**6)]
    # A fixed bounded score: the deviation falls like 1 / k.
    assert off[0] / off[1] == pytest.approx(100, rel=0.1) and off[1] / off[2] == pytest.approx(100, rel=0.1)


def test_the_best_scores_tell_the_information() -> None:
    for seed in range(5):
        joint = Joint.drawn(seed, 5, 7, concentration=0.5)
        best, ratio = joint.log_ratio + normal(seed, 5, 1), joint.log_ratio.exp()
        assert float(info_nce_limit(best, joint)) == pytest.approx(-joint.information(), abs=1e-12)
        assert float(spectral(ratio, joint)) == pytest.approx(-1 - joint.information(chi_square), rel=1e-12)
        for other in range(5):
            moved = 0.3 * normal(10 + other, 5, 7)
            assert float(info_nce_limit(best + moved, joint)) > -joint.information()
            assert float(spectral(ratio + moved, joint)) > -1 - joint.information(chi_square)
            # The same scores are best at every number of negatives, and no estimate exceeds the information.
            assert float(info_nce(best + moved, joint, 3)) > float(info_nce(best, joint, 3))
        for negatives in (1, 3, 31):
            told = math.log(negatives + 1) - float(info_nce(best, joint, negatives))
            assert 0 < told < min(joint.information(), math.log(negatives + 1))


def block_cosine(share: float, alpha: float) -> float:
    """Of the first two blocks, where InfoNCE over a block model is least (Maity et al. 2024)."""
    pi = torch.tensor([share, (1 - share) / 2, (1 - share) / 2], dtype=torch.float64)
    joined = torch.tensor([[0.95, alpha, 0], [alpha, 0.95, 0], [0, 0, 0.95]], dtype=torch.float64)
    joint = Joint(pi[:, None] * joined * pi / (joined @ pi)[:, None])
    h = normal(0, 3, 3).requires_grad_()
    optimizer = torch.optim.LBFGS([h], max_iter=200, tolerance_grad=1e-10, tolerance_change=0,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        unit = F.normalize(h, dim=1)
        loss = info_nce_limit(unit @ unit.T, joint, pi)
        loss.backward()
        return loss

    optimizer.step(closure)
    unit = F.normalize(h.detach(), dim=1)
    return float(unit[0] @ unit[1])


def test_a_small_block_moves_to_the_one_it_is_joined_to() -> None:
    found = [block_cosine(share, 0.1) for share in (1 / 3, 1 / 48, 1e-6)]
    assert found[:2] == pytest.approx([-0.196, 0.502], abs=1e-3)
    # In the limit of no share at all its cosine c solves tanh c + sinh c / cosh 1 = 1 + alpha / 0.95.
    assert math.tanh(found[2]) + math.sinh(found[2]) / math.cosh(1) == pytest.approx(1 + 0.1 / 0.95, abs=1e-4)


def test_triplet_is_a_sum_over_triples() -> None:
    joint, scores = Joint.drawn(7, 3, 4), normal(8, 3, 4)
    noise = shares(9, 3, 4)
    penalties: list[Callable[[Tensor], Tensor]] = [
        lambda v: (1 - v).clamp(min=0), lambda v: F.softplus(-v) / math.log(2)
    ]  # fmt: skip
    for penalty in penalties:
        expected = sum(
            float(joint.p[a, b] * noise[a, c] * penalty(scores[a, b] - scores[a, c]))
            for a, b, c in itertools.product(range(3), range(4), range(4))
        )
        assert float(triplet(scores, joint, penalty, noise)) == pytest.approx(expected, rel=1e-12)


def test_sufficiency_is_what_a_code_loses() -> None:
    for seed in range(5):
        joint = Joint.drawn(seed, 8, 6, concentration=0.3)
        code = torch.randint(3, (8,), generator=torch.Generator().manual_seed(seed))
        lost = joint.sufficiency(code)
        assert lost == pytest.approx(joint.information() - joint.merged(code).information(), abs=1e-12) and lost > 0
        assert joint.sufficiency(torch.arange(8).flip(0)) == pytest.approx(0, abs=1e-15)
        assert joint.sufficiency(torch.zeros(8, dtype=torch.int64)) == pytest.approx(joint.information(), rel=1e-12)
        # One-sided InfoNCE with the best scores of the code costs just that much more.
        assert float(info_nce_limit(joint.merged(code).log_ratio[code], joint)) == pytest.approx(
            lost - joint.information(), abs=1e-12
        )
        assert joint.sufficiency(code, chi_square) >= lost  # log r <= r - 1


def test_divergences_of_two_coins() -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    assert float(divergence(p, q)) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert float(divergence(p, q, chi_square)) == pytest.approx(0.0625 / 0.25 + 0.0625 / 0.75)
    assert float(divergence(p, q, lambda r: (r - 1).abs() / 2)) == pytest.approx(0.25)
    assert float(divergence(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))) == 0
    assert kullback_leibler(torch.zeros(1)) == 0


def test_pairs_of_a_class_are_independent_within_it() -> None:
    rho, a, b = shares(1, 3), shares(2, 3, 4), shares(3, 3, 5)
    joint = Joint.of_classes(rho, a, b)
    loop = sum(rho[c] * a[c, 1] * b[c, 2] for c in range(3))
    assert float(joint.p[1, 2]) == pytest.approx(float(loop))
    assert Joint.of_classes(rho[:1] / rho[:1], a[:1]).information() == pytest.approx(0, abs=1e-15)
    assert torch.dist(joint.given_rows.sum(1), torch.ones(4)) < 1e-12


def test_multisets_are_all_outcomes() -> None:
    p = torch.tensor([0.2, 0.5, 0.0, 0.3], dtype=torch.float64)
    for size in (0, 1, 4):
        counts, chances = multisets(p, size)
        assert len(counts) == math.comb(3 + size, size) and (counts.sum(1) == size).all()
        assert float(chances.sum()) == pytest.approx(1) and (chances[counts[:, 2] > 0] == 0).all()
        assert torch.dist(chances @ counts, size * p) < 1e-12
    values = normal(0, 4)
    loop = sum(
        math.prod(float(p[i]) for i in drawn) * abs(float(values[list(drawn)].mean()))
        for drawn in itertools.product(range(4), repeat=3)
    )
    counts, chances = multisets(p, 3)
    assert float(chances @ (counts @ values / 3).abs()) == pytest.approx(loop)


def test_a_batch_of_all_pairs_is_the_expectation() -> None:
    """`common.losses.spectral_contrastive` of a sample of pairs, its distribution being what is known."""
    query, key = normal(1, 6, 3), normal(2, 6, 3)
    noise = (1 - torch.eye(6).double()) / 5
    expected = spectral(query @ key.T, Joint(torch.eye(6).double() / 6), noise)
    assert float(spectral_contrastive(query, key)) == pytest.approx(float(expected))
    ids = torch.tensor([0, 0, 1, 1, 1, 2])
    alike = (ids[:, None] == ids).double()
    expected = spectral(query @ key.T, Joint(alike / alike.sum(1, keepdim=True) / 6), noise)
    assert float(spectral_contrastive(query, key, ids=ids)) == pytest.approx(float(expected))


def moments(seed: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Of pairs that share a part, fewer than there are dimensions."""
    shared = normal(seed, n, d)
    x, y = shared + normal(seed + 1, n, d), shared + normal(seed + 2, n, d)
    both = torch.cat([x, y])
    return both.T @ both / (2 * n), (x.T @ y + y.T @ x) / (2 * n)


def linear_loss(w: Tensor, second: Tensor, cross: Tensor) -> Tensor:
    gram = w.T @ w
    return -2 * (gram * cross).sum() + (gram @ second @ gram @ second).trace()


@pytest.mark.parametrize(("n", "d", "width"), [(50, 6, 3), (4, 12, 5)])
def test_nothing_is_below_the_linear_minimizer(n: int, d: int, width: int) -> None:
    second, cross = moments(3, n, d)
    best = linear_minimizer(second, cross, width)
    least = float(linear_loss(best, second, cross))
    assert best.shape == (width, d)
    w = (0.1 * normal(1, width, d)).requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-11, tolerance_change=0,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = linear_loss(w, second, cross)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(linear_loss(w.detach(), second, cross)) == pytest.approx(least, rel=1e-6)
    # Smallest of all with this loss: nothing of it is where no view is, and what was there at the start stays there.
    values, vectors = torch.linalg.eigh(second)
    nowhere = vectors[:, values < 1e-10]
    assert nowhere.shape[1] == max(0, d - 2 * n) and (best @ nowhere).norm() < 1e-6
    if nowhere.shape[1]:
        assert (w.detach() @ nowhere).norm() > 0.01 and w.detach().norm() > best.norm()


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_samples_have_the_minimizer_of_their_moments(noise: float) -> None:
    x, labels = normal(4, 9, 14), torch.tensor([3, 3, 3, 5, 5, 5, 5, 8, 8])
    alike = labels[:, None] == labels
    weights = 0.25 * torch.eye(9) + 0.75 * alike / alike.sum(1)
    second = x.T @ x / 9 + noise**2 * torch.eye(14)
    cases = [({"labels": labels, "by_label": 0.75}, weights)]
    # Without noise two views of one sample are equal, and all directions as good.
    cases += [({}, torch.eye(9))] if noise else []
    for given, mixed in cases:
        found = linear_minimizer_of_samples(x, 3, noise=noise, **given)
        expected = linear_minimizer(second, x.T @ mixed.double() @ x / 9, 3)
        assert torch.dist(found.T @ found, expected.T @ expected) < 1e-8 * expected.norm() ** 2 + 1e-9


def test_width_beyond_what_helps_stays_empty() -> None:
    second, cross = torch.eye(4), torch.diag(torch.tensor([0.5, -0.2, 0.3, 0.0]))
    found = linear_minimizer(second, cross, 6)
    assert torch.dist(found.T @ found, torch.diag(torch.tensor([0.5, 0, 0.3, 0]).double())) < 1e-7
    assert found[0].abs().argmax() == 0 and not found[2:].any()
    assert (linear_minimizer(second, cross, 1).T @ linear_minimizer(second, cross, 1)).trace() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Joint(torch.ones(2, 2)), "p has the sum 4.0"),
        (lambda: Joint(torch.ones(4) / 4), r"p \(4,\): expected probabilities of pairs"),
        (lambda: Joint.drawn(0, 2, 2, concentration=0), "concentration is 0; it must be above 0"),
        (lambda: Joint.drawn(0, 2, 3).merged(torch.zeros(3).long()), r"code \(3,\): expected \(2,\)"),
        (lambda: divergence(torch.ones(1), torch.zeros(1)), "p is above 0 where q is 0"),
        (lambda: info_nce(torch.zeros(2, 2), Joint.drawn(0, 2, 3), 1), r"scores \(2, 2\): expected \(2, 3\)"),
        (lambda: info_nce(torch.zeros(2, 3), Joint.drawn(0, 2, 3), -1), "negatives is -1; it must be at least 0"),
        (lambda: spectral(torch.full((2, 3), torch.nan), Joint.drawn(0, 2, 3)), "a score is NaN or infinite"),
        (lambda: spectral(torch.zeros(2, 3), Joint.drawn(0, 2, 3), torch.ones(3)), "each must be 1"),
        (lambda: multisets(torch.ones(50) / 50, 20), "20 draws of 50 values"),
        (lambda: linear_minimizer(torch.eye(2), torch.eye(3), 1), r"moments \(2, 2\) and \(3, 3\), width 1"),
    ],
)
def test_bad_input_is_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
