"""Mixtures against loops; the same on any number of processes."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.sampling.mixup import Mixture, anchor_negative, beta, beta_quantiles, mixup, positive_negative
from tests import pool

LABELS = torch.tensor([2, 0, 2, 1, 0, 2])
IDS = torch.tensor([7, 3, 90, 14, 5, 61, 8, 22])


def rows(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (2.0, 8.0), (0.4, 0.4), (1.0, 1.0)])
def test_shares_are_of_their_distribution(a: float, b: float) -> None:
    drawn = beta(torch.arange(2000), 3, a, b, 5)
    assert drawn.shape == (2000, 3) and drawn.min() >= 0 and drawn.max() <= 1
    assert scipy.stats.kstest(drawn.flatten().numpy(), scipy.stats.beta(a, b).cdf).pvalue > 1e-3
    assert torch.equal(beta(torch.tensor([17, 4]), 3, a, b, 5), drawn[[17, 4]])
    assert not torch.equal(beta(torch.arange(2000), 3, a, b, 6), drawn)


def test_quantiles_of_shares() -> None:
    found = beta_quantiles(1000, 2.0, 8.0)
    torch.testing.assert_close(beta_quantiles(4, 1.0, 1.0), torch.tensor([1, 3, 5, 7]) / 8)
    assert found.diff().min() > 0 and found.mean() == pytest.approx(0.2, abs=1e-3)
    assert scipy.stats.beta(2, 8).cdf(found[249:251].mean()) == pytest.approx(0.25, abs=1e-4)
    with pytest.raises(UserError, match=r"a 0: expected a finite number above 0"):
        beta_quantiles(4, 0, 1)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 4)])
def test_mixtures_are_those_of_a_loop(shape: tuple[int, ...]) -> None:
    x, share = rows(6, *shape), torch.tensor([0.0, 0.25, 1.0, 0.6])
    mixture = Mixture(torch.tensor([0, 1, 5, 3]), torch.tensor([2, 2, 4, 1]), share)
    for found, i, j, s in zip(mixture.of(x), [0, 1, 5, 3], [2, 2, 4, 1], share.double(), strict=True):
        torch.testing.assert_close(found, s * x[i] + (1 - s) * x[j])
    targets = mixture.targets(LABELS, 3)
    assert targets.tolist() == [[0, 0, 1], [0.25, 0, 0.75], [0, 0, 1], [pytest.approx(0.4), pytest.approx(0.6), 0]]
    # Against anchors of class 2, 2, 0 and 1.
    found = mixture.pair_labels(torch.tensor([2, 2, 0, 1]), LABELS)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.75, 0.0, 0.6]))


def test_the_mixed_loss_is_the_cross_entropy_of_the_mixed_targets() -> None:
    mixed = mixup(rows(6, 4), LABELS, IDS[:6], 1.0, 3)
    logits = rows(6, 3)
    found = mixed.losses(lambda x, y: F.cross_entropy(x, y, reduction="none"), logits)
    one, other = (F.one_hot(labels, 3).double() for labels in (mixed.labels, mixed.others))
    share = mixed.share.double()[:, None]
    torch.testing.assert_close(found, -((share * one + (1 - share) * other) * logits.log_softmax(1)).sum(1))


def test_each_row_meets_another_and_is_met_by_one() -> None:
    x = torch.eye(8)
    mixed = mixup(x, torch.arange(8), IDS, 0.7, 1)
    assert mixed.others.sort().values.tolist() == list(range(8))
    assert not (mixed.others == mixed.labels).any()
    for i, (found, other, share) in enumerate(zip(mixed.x, mixed.others.tolist(), mixed.share.tolist(), strict=True)):
        expected = [share if j == i else 1 - share if j == other else 0.0 for j in range(8)]
        assert found.tolist() == pytest.approx(expected)
    assert not torch.equal(mixup(x, torch.arange(8), IDS, 0.7, 2).others, mixed.others)


def test_with_a_share_of_0_or_1_it_is_one_row_alone() -> None:
    mixture = Mixture(torch.tensor([1, 1]), torch.tensor([2, 2]), torch.tensor([1.0, 0.0]))
    assert torch.equal(mixture.of(rows(6, 3)), rows(6, 3)[[1, 2]])
    assert mixture.pair_labels(torch.tensor([0, 0]), LABELS).tolist() == [1.0, 0.0]


def _mixed(processes: int, own: list[slice]) -> tuple[Tensor, ...]:
    rank = torch.distributed.get_rank() if processes > 1 else 0
    part = own[rank]
    x = rows(8, 3).requires_grad_()
    mixed = mixup(x[part], torch.arange(8)[part], IDS[part], 1.0, 4)
    weight = torch.arange(1.0, 9.0, dtype=torch.float64)[part]
    (mixed.x.square().sum(1) * weight).sum().backward()
    return mixed.x.detach(), mixed.others, x.grad[part]


@pytest.mark.parametrize("sizes", [[4, 4], [3, 1, 2, 2]])
def test_several_processes_mix_as_one(sizes: list[int]) -> None:
    ends = np.cumsum(sizes).tolist()
    own = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    whole = _mixed(1, [slice(0, 8)])
    parts = pool.run(len(sizes), _mixed, len(sizes), own)
    for number, expected in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[number] for part in parts]), expected)


@pytest.mark.parametrize("every", [False, True])
def test_positives_are_paired_with_each_negative(every: bool) -> None:
    expected = []
    for a, label in enumerate(LABELS.tolist()):
        positives = [p for p, other in enumerate(LABELS.tolist()) if p != a and other == label]
        negatives = [n for n, other in enumerate(LABELS.tolist()) if other != label]
        expected += [(a, p, n) for p in (positives if every else positives[:1]) for n in negatives]
    pairs = positive_negative(LABELS, every_positive=every)
    assert list(zip(*(column.tolist() for column in pairs), strict=True)) == expected
    mixture = Mixture(pairs.first, pairs.second, torch.full((len(expected),), 0.3))
    assert mixture.pair_labels(LABELS[pairs.anchor], LABELS).tolist() == pytest.approx([0.3] * len(expected))


def test_anchors_are_paired_with_each_negative() -> None:
    pairs = anchor_negative(LABELS, lone=True)
    assert list(zip(*(column.tolist() for column in pairs), strict=True)) == [(3, 3, n) for n in (0, 1, 2, 4, 5)]
    assert len(anchor_negative(LABELS).anchor) == sum(LABELS.ne(label).sum() for label in LABELS)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match="a batch of 1 has no other row"):
        mixup(rows(1, 3), LABELS[:1], IDS[:1], 1.0)
    with pytest.raises(UserError, match="a 0"):
        mixup(rows(6, 3), LABELS, IDS[:6], 0.0)
    with pytest.raises(UserError, match=r"labels \(5,\)"):
        mixup(rows(6, 3), LABELS[:5], IDS[:6], 1.0)
