"""Blocks of a matrix that are worked on side by side, each by one thread.

torch splits each operation over its threads, and they wait for each other after each. Where one core is busy with
something else, all others then stand still thousands of times a second. Here a thread has a block to itself, and they
meet only when all are done with theirs.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import torch

_LEAST = 256
"""Rows and columns of a block; smaller ones are not worth a thread."""

_pool: ThreadPoolExecutor | None = None
_free = threading.Lock()
_forced: int | None = None

Block = tuple[slice, slice]


@contextmanager
def side_by_side(count: int) -> Iterator[None]:
    """Within the block so many threads are used, whatever the number of torch's and the size of the matrix."""
    global _forced
    before, _forced = _forced, count
    try:
        yield
    finally:
        _forced = before


def rounds(
    rows: int, columns: int, device: torch.device, *, mirrored: bool = False, by_row: bool = False
) -> list[list[Block]]:
    """The blocks of a matrix in rounds; those of one round share neither rows nor columns.

    They depend on the number of torch's threads, and on nothing that changes from call to call.

    Args:
        rows, columns: of the matrix.
        device: only on a CPU is there more than one block.
        mirrored: only blocks on and above the diagonal, where a row is also a column.
        by_row: one round, in which each block has all columns.
    """
    count = _threads(rows if by_row else min(rows, columns) // (2 if mirrored else 1), device)
    if count < 2 or by_row:
        return [[(part, slice(0, columns)) for part in _parts(rows, max(1, count))]]
    if not mirrored:
        above, across = _parts(rows, count), _parts(columns, count)
        return [[(above[i], across[(i + turn) % count]) for i in range(count)] for turn in range(count)]
    # Each part meets each other once, as at a tournament: the first stays, the others move on by one place.
    parts = _parts(rows, 2 * count)
    found = [[(part, part) for part in parts[half::2]] for half in (0, 1)]
    for turn in range(len(parts) - 1):
        places = [0, *((turn + i) % (len(parts) - 1) + 1 for i in range(len(parts) - 1))]
        pairs = [sorted((places[i], places[-1 - i])) for i in range(count)]
        found.append([(parts[first], parts[second]) for first, second in pairs])
    return found


def _parts(size: int, count: int) -> list[slice]:
    ends = [size * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _threads(rows: int, device: torch.device) -> int:
    """How many are worth it; one where something watches the operations of the thread that calls."""
    if device.type != "cpu" or torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return 1
    return min(torch.get_num_threads(), rows // _LEAST) if _forced is None else min(_forced, rows)


def at_once(jobs: list[Callable[[], None]]) -> None:
    """Does them all, each on a thread that torch does not split further; the calling thread does the first."""
    # Where somebody else's jobs are under way, these wait for nobody.
    if len(jobs) == 1 or not _free.acquire(blocking=False):
        for job in jobs:
            job()
        return
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def alone(job: Callable[[], None]) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            job()

    try:
        torch.set_num_threads(1)
        others = [_started(len(jobs) - 1).submit(alone, job) for job in jobs[1:]]
        try:
            jobs[0]()
        finally:
            failures = [other.exception() for other in others]
        for failure in filter(None, failures):
            raise failure
    finally:
        torch.set_num_threads(threads)
        _free.release()


def _started(count: int) -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool._max_workers < count:
        _pool = ThreadPoolExecutor(count, thread_name_prefix="scores")
    return _pool


def _forget() -> None:
    """A process that was forked has none of the threads."""
    global _pool, _free
    _pool, _free = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
