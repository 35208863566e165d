"""What the generated tests of the core losses do not cover: identities, refusals, the temperature's bounds."""

import math
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import UserError
from common.losses import (
    HardNegatives,
    LearnableTemperature,
    decoupled_nt_xent,
    filtered_info_nce,
    focal_sup_con,
    info_nce,
    nt_xent,
    queue_info_nce,
    sup_con,
    symmetric_info_nce,
)
from common.tiled.tiles import tiling


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
        (lambda: symmetric_info_nce(Q, K[:4], temperature=0.1), "as many rows of each"),
        (lambda: symmetric_info_nce(Q, K, temperature=0.1, directions="both"), "directions 'both'"),
        (lambda: nt_xent(Q, K[:4], temperature=0.1), "as many rows of each"),
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


def test_a_single_pair_has_no_negatives_to_be_decoupled_from() -> None:
    query = Q[:1].clone().requires_grad_()
    value = decoupled_nt_xent(query, K[:1], temperature=0.1, sigma=0.5)
    value.backward()
    assert value.item() == 0.0 and not query.grad.any()
    assert decoupled_nt_xent(Q[:2], K[:2], temperature=0.1) != 0


@pytest.mark.parametrize("threshold", [0.9, 0.999])
def test_what_is_filtered_is_the_same_under_autocast(threshold: float) -> None:
    """In bf16 a cosine of 1 may fall below the threshold, and identical captions would be negatives."""
    draw = torch.Generator().manual_seed(0)
    query, key, meaning = (F.normalize(torch.randn(64, 16, generator=draw), dim=1) for _ in range(3))
    meaning[1::2] = meaning[0::2]
    want = filtered_info_nce(query, key, temperature=0.1, meaning=meaning, threshold=threshold)
    alike = (meaning @ meaning.T > threshold) & ~torch.eye(64, dtype=torch.bool)
    logits = (query @ key.T / 0.1).masked_fill(alike, -math.inf)
    expected = (logits.logsumexp(1) + logits.logsumexp(0)).mean() / 2 - logits.diagonal().mean()
    torch.testing.assert_close(want, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filtered_info_nce(query, key, temperature=0.1, meaning=meaning, threshold=threshold), want)


@pytest.mark.parametrize("tiles", [(4, 3), None])
def test_focal_losses_at_a_low_temperature_have_the_exact_gradient(tiles: tuple[int, int] | None) -> None:
    """An anchor's score with itself is e^100 times its softmax, and must not come near the gradient."""
    labels = torch.arange(8) // 2
    found = []
    for dtype in (torch.float32, torch.float64):
        x = torch.eye(8, dtype=dtype, requires_grad=True)
        with tiling(*tiles) if tiles else nullcontext():
            value = focal_sup_con(x, labels, temperature=0.01, gamma=2.0)
        found.append((value.double(), torch.autograd.grad(value, x)[0].double()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    expected = -((1 - 1 / 7) ** 2) * math.log(1 / 7)
    assert found[1][0].item() == pytest.approx(expected)
