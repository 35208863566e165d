"""What the generated tests of the core losses do not cover: identities, refusals, the temperature's bounds."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import UserError
from common.losses import (
    HardNegatives,
    LearnableTemperature,
    decoupled_nt_xent,
    info_nce,
    nt_xent,
    queue_info_nce,
    sup_con,
    symmetric_info_nce,
)


def unit(n: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


Q, K = unit(6, 1), unit(6, 2)


def test_sup_con_with_a_label_for_each_sample_is_nt_xent() -> None:
    labels = torch.arange(6).repeat(2)
    for positives in ("out", "in"):
        ours = sup_con(torch.cat([Q, K]), labels, temperature=0.2, positives=positives)
        torch.testing.assert_close(ours, nt_xent(Q, K, temperature=0.2))


def test_sup_con_without_any_positive_is_zero_and_has_no_gradient() -> None:
    embeddings = Q.clone().requires_grad_()
    for positives in ("out", "in"):
        value = sup_con(embeddings, torch.arange(6), temperature=0.2, positives=positives)
        assert value == 0 and not torch.autograd.grad(value, embeddings)[0].any()


def test_info_nce_is_the_cross_entropy_of_the_diagonal() -> None:
    logits, target = Q @ K.T / 0.2, torch.arange(6)
    forth, back = F.cross_entropy(logits, target), F.cross_entropy(logits.T, target)
    torch.testing.assert_close(info_nce(Q, K, temperature=0.2), forth)
    torch.testing.assert_close(symmetric_info_nce(Q, K, temperature=0.2), (forth + back) / 2)
    torch.testing.assert_close(symmetric_info_nce(Q, K, temperature=0.2, directions="sum"), forth + back)
    smooth = F.cross_entropy(logits, target, label_smoothing=0.3)
    torch.testing.assert_close(info_nce(Q, K, temperature=0.2, label_smoothing=0.3), smooth)


def test_log_weights_of_minus_infinity_and_ignored_ids_say_the_same() -> None:
    ids = torch.tensor([0, 1, 0, 2, 1, 3])
    ignored = (ids[:, None] == ids) & ~torch.eye(6, dtype=torch.bool)
    weights = torch.zeros(6, 6, dtype=torch.float64).masked_fill(ignored, -math.inf)
    by_weight = info_nce(Q, K, temperature=0.2, log_weights=weights)
    torch.testing.assert_close(by_weight, info_nce(Q, K, temperature=0.2, ignore_ids=ids))


def test_a_queue_beside_the_batch_and_hard_negatives_are_further_columns() -> None:
    queue, hard = unit(9, 3), unit(12, 4).view(6, 2, 8)
    logits = Q @ torch.cat([K, queue, hard.flatten(0, 1)]).T / 0.2
    expected = F.cross_entropy(logits, torch.arange(6))
    ours = info_nce(Q, K, temperature=0.2, queue=queue, hard_negatives=HardNegatives(hard))
    torch.testing.assert_close(ours, expected)
    alone = torch.cat([(Q * K).sum(1, keepdim=True), Q @ queue.T], 1) / 0.2
    expected = F.cross_entropy(alone, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(queue_info_nce(Q, K, queue, temperature=0.2), expected)


def test_temperature_stays_within_its_bounds_and_comes_back() -> None:
    temperature = LearnableTemperature(initial=0.02, minimum=0.01)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=10.0)
    for direction, bound in ((1.0, 0.01), (-1.0, None)):
        optimizer.zero_grad()
        (direction * temperature().log()).backward()
        optimizer.step()
        if bound is not None:
            assert float(temperature().detach()) == pytest.approx(bound)
    assert float(temperature().detach()) > 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: info_nce(Q, K, temperature=0.1, ids=torch.arange(6), ignore_ids=torch.arange(6)), "ignore_ids"),
        (lambda: info_nce(Q, K, temperature=0.1, label_smoothing=0.1, ignore_ids=torch.arange(6)), "ignore_ids"),
        (lambda: info_nce(Q, K, temperature=0.1, label_smoothing=1.5), "label_smoothing 1.5"),
        (lambda: info_nce(Q, K, temperature=0.0), "temperature 0.0"),
        (lambda: info_nce(Q, K, temperature=0.1, hard_negatives=HardNegatives(K)), "hard_negatives"),
        (lambda: info_nce(Q, K, temperature=0.1, hard_negatives=HardNegatives(K[:, None], "none")), "scope 'none'"),
        (lambda: info_nce(Q, K[:4], temperature=0.1), "6 queries and 4 keys"),
        (lambda: symmetric_info_nce(Q, K[:4], temperature=0.1), "as many keys as queries"),
        (lambda: symmetric_info_nce(Q, K, temperature=0.1, directions="both"), "directions 'both'"),
        (lambda: nt_xent(Q, K[:4], temperature=0.1), "the same shape"),
        (lambda: decoupled_nt_xent(Q, K, temperature=0.1, sigma=0.0), "sigma 0.0"),
        (lambda: sup_con(Q, torch.arange(5), temperature=0.1), r"labels \(5,\)"),
        (lambda: sup_con(Q, torch.arange(6), temperature=0.1, positives="both"), "positives 'both'"),
        (lambda: LearnableTemperature(initial=0.001), "temperature 0.001"),
    ],
)
def test_contradictions_are_refused_in_one_line(make, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)
