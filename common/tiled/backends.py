"""Which code reduces a matrix of scores. All give the same numbers; time and memory differ.

* `reference` builds the matrix whole and leaves the rest to autograd: what to read first, and what to compare with.
* `cpu` goes tile by tile through the cache, and skips work where a look at the numbers says that it may.
* `cuda` takes tiles as large as the device allows and never looks at a number: each look would stall the device.
* `triton` is that with kernels of its own for the log-sum-exp, see `common.tiled.fused`. It is to be asked for: what it
  is worth has not been measured yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NoReturn

import torch

from common.errors import UserError


class Backend(StrEnum):
    """Chosen by the device of the embeddings, unless `Scores` is told, or `using` says so for all."""

    REFERENCE = "reference"
    CPU = "cpu"
    CUDA = "cuda"
    TRITON = "triton"

    @property
    def waits(self) -> bool:
        """Whether it may look at numbers on the way, for which a device that runs ahead would have to be waited for."""
        return self in (Backend.CPU, Backend.REFERENCE)

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise UserError(f"backend '{value}': expected one of {', '.join(cls)}")


_used: Backend | None = None


@contextmanager
def using(backend: Backend | str) -> Iterator[None]:
    """All scores within the block are reduced by this backend, whatever their device.

    Raises:
        UserError: there is no such backend.
    """
    global _used
    before, _used = _used, Backend(backend)
    try:
        yield
    finally:
        _used = before


def chosen(device: torch.device, backend: Backend | str | None = None) -> Backend:
    """The backend asked for, else that of the block, else that of the device."""
    if backend is not None:
        return Backend(backend)
    return _used or (Backend.CPU if device.type == "cpu" else Backend.CUDA)
