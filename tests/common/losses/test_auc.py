import math

import pytest
import torch

from common.losses import info_nce, mann_whitney
from common.losses.examples import generator, unit


def test_batches_larger_than_a_block_are_compared_whole() -> None:
    draw = generator(0)
    query, key = unit(draw, 150).requires_grad_(), unit(draw, 150).requires_grad_()
    scores = query @ key.T / 0.3
    negative = scores[~torch.eye(150, dtype=torch.bool)]
    expected = torch.nn.functional.softplus(negative[None] - scores.diagonal()[:, None]).mean()
    value = mann_whitney(query, key, temperature=0.3)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(
        torch.autograd.grad(value, (query, key)), torch.autograd.grad(expected, (query, key)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_bounds_one_minus_auc(seed: int) -> None:
    draw = generator(seed)
    query = unit(draw, 12)
    key = query + 0.5 * unit(draw, 12)
    scores = query @ key.T
    negative = scores[~torch.eye(12, dtype=torch.bool)]
    misordered = (scores.diagonal()[:, None] < negative[None]).double().mean().item()
    assert 0 < misordered <= mann_whitney(query, key, temperature=0.05).item() / math.log(2)


def test_info_nce_is_blind_to_an_offset_of_a_query_and_this_loss_is_not() -> None:
    # A coordinate that all keys share adds an offset to all scores of a query.
    draw = generator(1)
    query, key = unit(draw, 8), torch.cat([unit(draw, 8), torch.ones(8, 1, dtype=torch.float64)], dim=1)

    def shifted(by: torch.Tensor) -> torch.Tensor:
        return torch.cat([query, by[:, None]], dim=1)

    none, some = shifted(torch.zeros(8).double()), shifted(torch.linspace(-3, 3, 8).double())
    torch.testing.assert_close(info_nce(none, key, temperature=0.5), info_nce(some, key, temperature=0.5))
    assert mann_whitney(some, key, temperature=0.5) > 1.5 * mann_whitney(none, key, temperature=0.5)


def test_a_single_pair_has_nothing_to_compare() -> None:
    query = torch.eye(1, 4, requires_grad=True)
    value = mann_whitney(query, torch.eye(1, 4), temperature=0.1)
    value.backward()
    assert value.item() == 0.0 and not query.grad.any()
    assert mann_whitney(query, torch.eye(1, 4), temperature=0.1, negatives=torch.eye(2, 4)[1:]) > 0
