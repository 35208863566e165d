"""How much memory a computation holds at once, counted and not sampled: the same number on every run."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations allocate, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # A result that shares memory with an argument, as views and in-place operations have, allocates nothing.
        arguments = {_address(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = function(*args, **kwargs)
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and _address(x) not in arguments:
                self._count(x)
        return result

    def _count(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        address, size = _address(x), storage.nbytes()
        if address in self._counted:
            return
        self._counted.add(address)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._counted.discard(address)
        self.live -= size


def _address(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def peak_bytes(step: Callable[[], object]) -> int:
    """The most bytes of tensors, made within `step`, that are alive at once.

    What was there before is not counted, nor what a single operation allocates and frees within itself. Forward and
    backward passes count, the tensors that autograd saves among them, and so do gradients of parameters.

    Args:
        step: runs the computation; it must not start threads or processes of its own.
    """
    with _LiveBytes() as counter:
        step()
    return counter.peak
