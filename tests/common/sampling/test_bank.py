"""A memory bank: what its columns hold, how its rows move, and that processes agree on both."""

import pytest
import torch
from torch.nn import functional as F

from common.distributed import rank, world_size
from common.errors import UserError
from common.sampling.bank import MemoryBank, rows_in_cube
from tests.processes import on_processes

IDS = torch.tensor([3, 40, 8, 21, 5, 90, 17, 2])


def covered(dim: int = 6) -> MemoryBank:
    made = MemoryBank(dim, lambda ids: rows_in_cube(ids, dim, 7))
    made.cover(IDS)
    return made


def test_a_column_holds_the_own_row_and_then_draws_that_belong_to_the_sample() -> None:
    bank = covered()
    columns = bank.columns(IDS, 100, 1, views=2)
    assert columns.shape == (16, 101)
    assert torch.equal(bank.at(columns[:8, 0]), bank.read(IDS)) and torch.equal(columns[:8, 0], columns[8:, 0])
    assert not torch.equal(columns[:8, 1:], columns[8:, 1:]), "each view has draws of its own"
    assert torch.equal(bank.columns(IDS[[5, 2]], 100, 1, views=2), columns[[5, 2, 13, 10]])
    assert not torch.equal(bank.columns(IDS, 100, 2, views=2), columns)
    # 1,600 draws of 8 rows: 200 each, with a deviation of 13.
    assert (columns[:, 1:].flatten().bincount(minlength=8) - 200).abs().max() < 60


def test_a_row_moves_towards_the_mean_of_its_views() -> None:
    bank, rows = covered(), F.normalize(torch.randn(2 * 3, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    before = bank.read(IDS)
    bank.move(IDS[:3], rows, 0.25)
    after = bank.read(IDS)
    for i in range(3):
        moved = 0.25 * before[i] + 0.75 * (rows[i] + rows[3 + i]) / 2
        torch.testing.assert_close(after[i], moved / moved.norm())
    assert torch.equal(after[3:], before[3:])


def test_rows_begin_in_a_cube_with_length_1_on_average() -> None:
    rows = rows_in_cube(torch.arange(4000), 6, 3)
    assert rows.abs().max() <= 0.5**0.5
    assert float(rows.square().sum(1).mean()) == pytest.approx(1, rel=0.02)
    assert torch.equal(rows_in_cube(torch.tensor([17, 4]), 6, 3), rows[[17, 4]])


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_agree_on_columns_and_rows(world: int) -> None:
    rows = F.normalize(torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), dim=1)

    def share() -> tuple[torch.Tensor, torch.Tensor]:
        part = slice(8 * rank() // world_size(), 8 * (rank() + 1) // world_size())
        bank = covered()
        columns = bank.columns(IDS[part], 5, 1)
        bank.move(IDS[part], rows[part], 0.5)
        return columns, bank.rows

    alone = covered()
    expected = alone.columns(IDS, 5, 1)
    alone.move(IDS, rows, 0.5)
    found = on_processes(world, share) if world > 1 else [share()]
    assert torch.equal(torch.cat([columns for columns, _ in found]), expected)
    assert all(torch.equal(bank, alone.rows) for _, bank in found)


def test_a_bank_without_negatives_is_refused() -> None:
    with pytest.raises(UserError, match="negatives is 0; it must be at least 1"):
        covered().columns(IDS, 0)
