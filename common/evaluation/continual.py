"""Learning one task after the other: what is known of each task right after it, and what is left of it in the end."""

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.means import Mean, ratio


def continual_metrics(hits: Tensor, tasks: Tensor) -> Metrics:
    """From what was right at the end of each task.

    Args:
        hits: 1 where a test item was right after a task and else 0, or any score of it, shape (T, n), T at least 2.
        tasks: the task of each item, from 0 to T - 1, each with an item, int64 of shape (n,).

    Returns:
        `own`: of each item right after its own task, mean over the items. `forgetting`: by how much less that is after
        the last task, mean over the items of all other tasks; below 0 where later tasks helped; a `ratio` over all
        items, since which of them belong to the last task is drawn by the seed. `afterS/taskT`: of the items of task T
        after task S, counted from 1.

    Raises:
        UserError: the shapes do not fit, or a task has no item.
    """
    if hits.ndim != 2 or len(hits) < 2 or not hits.shape[1]:
        raise UserError(f"hits {tuple(hits.shape)}: expected (tasks, n), two tasks at least and one item")
    check_ids("tasks", tasks, hits.shape[1])
    hits, tasks = hits.double().cpu(), tasks.cpu()
    last = len(hits) - 1
    if tasks.unique().tolist() != list(range(last + 1)):
        raise UserError(f"tasks are {tasks.unique().tolist()}; each of 0 to {last} must have an item")
    own = hits.gather(0, tasks[None])[0]
    early = (tasks < last).double()
    table = torch.stack([hits[:, tasks == task].mean(dim=1) for task in range(last + 1)], dim=1).tolist()
    return {"own": Mean(own), "forgetting": ratio((own - hits[last]) * early, early)} | {
        f"after{after + 1}/task{task + 1}": value for after, row in enumerate(table) for task, value in enumerate(row)
    }
