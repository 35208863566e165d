"""The order of the samples: the same on any number of processes, and the same after a resume."""

from itertools import chain

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.errors import UserError
from common.sampling import batches
from common.sampling.batches import GlobalBatchSampler, ResumableLoader


@pytest.fixture
def on_process(monkeypatch):
    """Runs a function as if on process `rank` of `world`."""

    def run(rank: int, world: int, function):
        monkeypatch.setattr(batches, "rank", lambda: rank)
        monkeypatch.setattr(batches, "world_size", lambda: world)
        return function()

    return run


def test_an_epoch_holds_every_sample_once_in_a_new_order():
    sampler = GlobalBatchSampler(12, 4, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    assert [len(batch) for batch in first] == [4, 4, 4]
    assert sorted(chain(*first)) == list(range(12))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(GlobalBatchSampler(12, 4, seed=4)) != first


def test_without_reshuffling_every_epoch_repeats_the_first():
    sampler = GlobalBatchSampler(12, 4, reshuffle=False)
    first = list(sampler)
    sampler.set_epoch(5)
    assert list(sampler) == first


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_slices_of_all_processes_make_up_the_batches_of_one(on_process, world, drop_last):
    sampler = GlobalBatchSampler(27, 8, seed=1, drop_last=drop_last)
    alone = list(sampler)
    assert [len(batch) for batch in alone] == ([8, 8, 8] if drop_last else [8, 8, 8, 3])
    shares = [on_process(rank, world, lambda: list(sampler)) for rank in range(world)]
    together = [list(chain(*slices)) for slices in zip(*shares, strict=True)]
    # Three samples cannot feed four processes: that batch is left out on all of them.
    assert together == alone[: 3 if world == 4 else None]
    assert all(len(share) == on_process(0, world, lambda: len(sampler)) for share in shares)


def test_a_resumed_sampler_goes_on_where_it_was():
    expected, resumed = GlobalBatchSampler(40, 4, seed=2), GlobalBatchSampler(40, 4, seed=2)
    expected.set_epoch(3)
    running = iter(expected)
    for _ in range(4):
        next(running)
    resumed.load_state_dict(expected.state_dict())
    assert list(resumed) == list(running)
    # The position is spent: the next pass over the same epoch is a whole one.
    assert len(list(resumed)) == 10


def test_a_position_lapses_with_its_epoch():
    sampler = GlobalBatchSampler(40, 4)
    sampler.load_state_dict({"epoch": 0, "position": 9})
    sampler.set_epoch(1)
    assert len(list(sampler)) == 10


@pytest.mark.parametrize("arguments", [(10, 0), (3, 4), (10, 4, -1)])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(UserError, match="data"):
        GlobalBatchSampler(*arguments)


def test_a_batch_that_does_not_divide_by_the_processes_is_refused(on_process):
    with pytest.raises(UserError, match=r"batch_size is 8; .* multiple of the 3 processes"):
        on_process(0, 3, lambda: next(iter(GlobalBatchSampler(20, 8))))


class Positions(Dataset):
    """Twenty samples that are their own index, read alone or as a whole batch."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int | list[int]) -> Tensor:
        return torch.tensor(index)


class Recorder(L.LightningModule):
    """Records which samples it is given; stops in the middle of a run if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.tolist()))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(whole_batches: bool, **arguments) -> ResumableLoader:
    sampler = GlobalBatchSampler(20, 4, seed=7)
    place = {"sampler": sampler, "batch_size": None} if whole_batches else {"batch_sampler": sampler}
    return ResumableLoader(Positions(), **place, **arguments)


def fit(folder, limit: dict, every: int, resume: str | None = None, whole_batches: bool = False, **arguments):
    module = Recorder()
    checkpoint = L.pytorch.callbacks.ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=every, save_top_k=-1, auto_insert_metric_name=False
    )
    trainer = L.Trainer(
        **limit,
        accelerator="cpu",
        use_distributed_sampler=False,
        callbacks=[checkpoint],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(whole_batches, **arguments), ckpt_path=resume)
    return module.seen


WORKERS = [{}, {"whole_batches": True}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [3, 5, 7])
@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_steps": 14}])
@pytest.mark.parametrize("arguments", WORKERS)
def test_a_run_resumed_by_lightning_sees_what_the_whole_run_sees(tmp_path, step, limit, arguments):
    """In the middle and at the end of epochs, with and without workers; an epoch has five batches."""
    whole = fit(tmp_path / "whole", limit, step, **arguments)
    assert [batch for _, batch in whole[:5]] == list(GlobalBatchSampler(20, 4, seed=7))
    assert whole[5][1] != whole[0][1]
    resumed = fit(tmp_path / "resumed", limit, 100, resume=tmp_path / "whole" / f"{step}.ckpt", **arguments)
    assert resumed == whole[step:]
