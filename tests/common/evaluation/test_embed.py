"""Embedding a data set: every row once, in order, whatever the number of processes; modes as they were."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.evaluation.embed import embed_dataset
from tests.processes import on_processes


class Encoder(nn.Module):
    """Has what eval mode changes, and a frozen part that is in eval mode all along."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        self.teacher = nn.Dropout(0.5).eval()
        self.sizes: list[int] = []

    def embed(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.body(x).double()

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts])


def test_rows_are_those_of_one_pass_in_eval_mode_and_modes_come_back():
    module, items = Encoder(), torch.randn(11, 3)
    got = embed_dataset(module.embed, items, batch_size=4)
    assert module.sizes == [4, 4, 3]
    assert module.body[2].training and module.training and not module.teacher.training
    assert got.dtype == torch.float32 and not got.requires_grad and not got.is_inference()
    torch.testing.assert_close(got, module.eval().body(items).detach())


def test_modes_come_back_after_an_error():
    module = Encoder()
    with pytest.raises(RuntimeError):
        embed_dataset(module.embed, torch.randn(4, 7), batch_size=2)
    assert module.body[1].training and not module.teacher.training


def test_lists_are_embedded_in_order():
    assert embed_dataset(Encoder().embed_text, ["a", "bbb", "cc"], 2).flatten().tolist() == [1, 3, 2]


# Five batches do not divide by 2 or 4 processes; one batch leaves processes without any.
@pytest.mark.parametrize("world, n", [(2, 19), (4, 19), (4, 3)])
def test_processes_share_the_work_and_each_gets_exactly_the_rows_of_one(world, n):
    module, items = Encoder(), torch.randn(n, 3)
    alone = embed_dataset(module.embed, items, batch_size=4)

    def work() -> tuple[Tensor, int]:
        module.sizes.clear()
        return embed_dataset(module.embed, items, batch_size=4), sum(module.sizes)

    results = on_processes(world, work)
    for rows, _ in results:
        torch.testing.assert_close(rows, alone, rtol=0, atol=0)
    assert sum(worked for _, worked in results) <= n + world - 1
    assert max(worked for _, worked in results) < max(n, 4)


def test_what_cannot_be_embedded_is_refused():
    module = Encoder()
    with pytest.raises(UserError, match="not the method of a module"):
        embed_dataset(torch.flatten, torch.randn(2, 3), 2)
    with pytest.raises(UserError, match="batch_size is 0"):
        embed_dataset(module.embed, torch.randn(2, 3), 0)
    with pytest.raises(UserError, match="items is empty"):
        embed_dataset(module.embed_text, [], 2)
