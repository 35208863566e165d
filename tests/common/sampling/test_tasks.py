"""One task after the other, the same on any number of processes, and on from where a checkpoint stopped."""

import pytest
import torch

from common.errors import UserError
from common.sampling.tasks import TaskSequenceSampler

TASKS = torch.tensor([1, 0, 2, 0, 1, 2, 0, 1, 2, 0, 2, 1, 0])  # 5, 4 and 4 samples


def test_a_task_is_over_before_the_next_begins() -> None:
    sampler = TaskSequenceSampler(TASKS, 2, seed=3, passes=2)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 12
    assert [TASKS[batch].unique().tolist() for batch in batches] == [[0]] * 4 + [[1]] * 4 + [[2]] * 4
    assert sampler.starts == [0, 4, 8]
    for task in (1, 2):
        for one_pass in (0, 2):
            met = [row for batch in batches[4 * task + one_pass :][:2] for row in batch]
            assert sorted(met) == torch.nonzero(torch.eq(TASKS, task)).flatten().tolist(), "each sample once a pass"
    assert batches[4:6] != batches[6:8], "another order each pass"


def test_it_goes_on_where_it_stopped() -> None:
    whole, half = (TaskSequenceSampler(TASKS, 2, seed=3) for _ in range(2))
    batches = list(whole)
    half.load_state_dict({"epoch": 0, "position": 3})
    assert list(half) == batches[3:]
    assert list(TaskSequenceSampler(TASKS, 2, seed=4)) != batches


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size is 5; the smallest task has 4 samples"):
        TaskSequenceSampler(TASKS, 5)
    with pytest.raises(UserError, match=r"data\.task_epochs is 0; it must be at least 1"):
        TaskSequenceSampler(TASKS, 2, passes=0)
