from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from common.sampling.batches import GlobalBatchSampler
from common.sampling.halves import HalvesSampler
from common.table import Rows, Table, cut, joined, take


class Things(NamedTuple):
    pixels: Tensor
    words: list[list[str]]
    captions: tuple[list[str], ...]
    names: dict[str, list[str]]
    files: object
    ids: Tensor


class Files:
    def __getitem__(self, index: list[int]) -> Tensor:
        return torch.tensor(index) * 10


def things(n: int = 6) -> Things:
    numbers = [str(i) for i in range(n)]
    words = [[word, word] for word in numbers]
    captions = tuple([f"{language}{i}" for i in numbers] for language in "ab")
    return Things(torch.arange(n * 2).view(n, 2), words, captions, {"x": numbers}, Files(), torch.arange(n))


def test_rows_are_taken_of_every_column_in_the_order_asked_for() -> None:
    found = take(things(), torch.tensor([4, 1, 4]))
    assert isinstance(found, Things) and found.ids.tolist() == [4, 1, 4]
    assert found.pixels.tolist() == [[8, 9], [2, 3], [8, 9]] and found.words == [["4", "4"], ["1", "1"], ["4", "4"]]
    assert found.captions == (["a4", "a1", "a4"], ["b4", "b1", "b4"]) and found.names == {"x": ["4", "1", "4"]}
    assert found.files.tolist() == [40, 10, 40]
    chosen = take(things(3), torch.tensor([True, False, True]))
    assert chosen.ids.tolist() == [0, 2] and chosen.names == {"x": ["0", "2"]}


def test_a_table_is_cut_into_parts_and_joined_again() -> None:
    whole = things()._replace(files=[0] * 6, names=[0] * 6)
    parts = cut(whole, {"train": 3, "val": 1, "test": 2})
    assert {name: part.ids.tolist() for name, part in parts.items()} == {"train": [0, 1, 2], "val": [3], "test": [4, 5]}
    again = joined(*parts.values())
    assert torch.equal(again.pixels, whole.pixels) and again[1:5] == whole[1:5]


def test_a_loader_yields_the_batches_of_its_order() -> None:
    loader = Table(things()).loader(2, seed=3)
    expected = list(GlobalBatchSampler(6, 2, 3))
    assert [batch.ids.tolist() for batch in loader] == expected and isinstance(next(iter(loader)), Things)
    assert len(Table(things())) == 6 and len(loader) == 3
    halves = Table(things()).loader_over(HalvesSampler(2, 4, 2))
    assert all(first < 2 <= second for first, second in (batch.ids.tolist() for batch in halves))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_is_made_of_rows_with_the_seed_and_the_epoch_of_the_order(workers: int) -> None:
    order = GlobalBatchSampler(4, 2, 7)
    loader = Table(Rows(torch.arange(4) + 100), _keyed).loader_over(order, workers)
    for epoch in (0, 5):
        order.set_epoch(epoch)
        for index, seed, at in loader:
            assert (seed, at) == (7, epoch) and min(index.tolist()) >= 100


def _keyed(rows: Rows, seed: int, epoch: int) -> tuple[Tensor, int, int]:
    return rows.index, seed, epoch
