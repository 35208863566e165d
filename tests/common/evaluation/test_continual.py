"""What is known right after a task and in the end, against a plain loop."""

import pytest
import torch

from common.errors import UserError
from common.evaluation.continual import continual_metrics


def test_it_equals_a_plain_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    hits, tasks = torch.rand(3, 50, generator=draw).round(), torch.randint(3, (50,), generator=draw)
    own, forgotten = [], []
    for item, task in enumerate(tasks.tolist()):
        own.append(float(hits[task, item]))
        if task < 2:
            forgotten.append(float(hits[task, item] - hits[2, item]))
    found = continual_metrics(hits, tasks)
    assert found["own"].items.tolist() == own
    assert found["forgetting"] == pytest.approx(sum(forgotten) / len(forgotten))
    assert found["forgetting"].items.shape == (50,), "an item stands at one place whichever task is the last"
    # Of no influence is what was not asked.
    assert found["forgetting"].items[tasks == 2] == pytest.approx(float(found["forgetting"]))
    for after in range(3):
        for task in range(3):
            rows = [float(hits[after, i]) for i, t in enumerate(tasks.tolist()) if t == task]
            assert found[f"after{after + 1}/task{task + 1}"] == pytest.approx(sum(rows) / len(rows))
    assert len(found) == 2 + 9


def test_what_is_lost_and_what_is_kept() -> None:
    tasks = torch.tensor([0, 0, 1, 1])
    lost = continual_metrics(torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]), tasks)
    assert (lost["own"], lost["forgetting"]) == (1.0, 1.0)
    kept = continual_metrics(torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), tasks)
    assert (kept["own"], kept["forgetting"]) == (1.0, 0.0)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match=r"hits \(1, 4\): expected \(tasks, n\)"):
        continual_metrics(torch.ones(1, 4), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(UserError, match=r"tasks are \[0, 2\]; each of 0 to 2 must have an item"):
        continual_metrics(torch.ones(3, 4), torch.tensor([0, 0, 2, 2]))
