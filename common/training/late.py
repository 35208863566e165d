"""Tasks one after the other in one run: rates that begin anew, and parts that learn from a later task on."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from common.distributed import sum_over_processes, world_size
from common.training.method import Schedule, warmup_decay


def task_at(starts: Sequence[int], step: int) -> int:
    """The task of a step, both from 0, given the step at which each task begins."""
    return bisect_right(starts, step) - 1


def rates_anew(starts: Sequence[int], total: int, warmup: float, decay: Schedule) -> Callable[[int], float]:
    """As `warmup_decay`, each task having a warm-up and a decay of its own.

    Args:
        starts: the step at which each task begins, the first at 0.
        total: steps of the run.
        warmup: share of a task's steps.
        decay: what follows it.
    """
    lengths = [end - start for start, end in zip(starts, [*starts[1:], total], strict=True)]
    factors = [warmup_decay(length, warmup, decay) for length in lengths]
    return lambda step: factors[task_at(starts, step)](step - starts[task_at(starts, step)])


@contextmanager
def awake(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within it these parameters ask for a gradient: the optimizer is made before they learn, and is to have them."""
    waiting = [p for p in parameters if not p.requires_grad]
    for parameter in waiting:
        parameter.requires_grad_(True)
    yield
    for parameter in waiting:
        parameter.requires_grad_(False)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean of their gradients over all processes, after the backward pass.

    DDP does it for what is trained when a run begins, and never learns of what begins later.
    """
    if world_size() > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = sum_over_processes(parameter.grad) / world_size()
