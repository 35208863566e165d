"""Functions, and training steps, on several processes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from common.processes import on_processes
from common.training.method import Method

__all__ = ["assert_shares_agree", "assert_steps_agree", "on_processes"]


def assert_steps_agree(cuts: tuple[int, ...], make: Callable[[], Method], batch: Callable[[slice], Any]) -> None:
    """A step on several processes has the loss, the gradients and the running statistics of the step on one.

    Args:
        cuts: where the rows of the batch are parted; process r has those from cuts[r] to cuts[r + 1].
        make: builds the same module in float64 at every call. Its `log_loss` gives the loss back, and its `key` needs
            no trainer.
        batch: the rows of a slice, all of them for `slice(None)`.
    """

    def step(own: slice, parallel: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        method: Any = make()
        method.forward = lambda data: method.training_step(data, 0)
        called = DistributedDataParallel(method, broadcast_buffers=False) if parallel else method
        loss = called(batch(own))
        loss.backward()
        return loss.detach(), [p.grad for p in method.parameters()], [b.clone() for b in method.buffers()]

    def work() -> tuple[Tensor, list[Tensor], list[Tensor]]:
        rank = torch.distributed.get_rank()
        return step(slice(cuts[rank], cuts[rank + 1]), True)

    expected = step(slice(None), False)
    for found in on_processes(len(cuts) - 1, work):
        torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=0)
        for ours, one in zip(found[1] + found[2], expected[1] + expected[2], strict=True):
            torch.testing.assert_close(ours, one, rtol=1e-8, atol=1e-10)


def assert_shares_agree(
    found: list[tuple[Tensor, Tensor]], value: Tensor, gradient: Tensor, rtol: float = 1e-9
) -> None:
    """Each process has the loss of one, and their gradients, one after the other, are that of one."""
    for share in found:
        torch.testing.assert_close(share[0], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([share[1] for share in found]), gradient, rtol=rtol, atol=1e-12)
