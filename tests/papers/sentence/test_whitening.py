"""Whitening: equal spread in all directions, and nothing before a fit."""

import pytest
import torch

from common.errors import UserError
from papers.sentence.whitening.module import Whitening


def spread_rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(192, 192, generator=generator)
    return 3 + torch.randn(4000, 192, generator=generator) @ mix


def whitened(module: Whitening, rows: torch.Tensor) -> torch.Tensor:
    module.take_statistics(rows)
    return (rows - module.mean) @ module.map


def test_the_covariance_becomes_the_unit_matrix() -> None:
    rows = whitened(Whitening(), spread_rows())
    torch.testing.assert_close(torch.cov(rows.double().T, correction=0), torch.eye(192).double(), atol=2e-3, rtol=0)


def test_centring_alone_keeps_the_shape() -> None:
    rows = spread_rows()
    torch.testing.assert_close(whitened(Whitening(spread=False), rows), rows - rows.mean(dim=0))


def test_fewer_directions_are_those_of_the_largest_spread() -> None:
    rows = torch.randn(4000, 192, generator=torch.Generator().manual_seed(0))
    rows[:, 7] *= 10
    found = whitened(Whitening(dimensions=1), rows)
    assert found.shape == (4000, 1)
    assert torch.corrcoef(torch.stack([found[:, 0], rows[:, 7]]))[0, 1].abs() > 0.999


def test_a_direction_without_spread_is_not_blown_up() -> None:
    rows = spread_rows()
    rows[:, 5] = 1.0
    assert whitened(Whitening(), rows).isfinite().all()


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"model.dimensions is 193; it must be from 1 to 192"):
        Whitening(dimensions=193)
    with pytest.raises(UserError, match=r"model.batches is 0"):
        Whitening(batches=0)
