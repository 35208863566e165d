"""CPU seconds and extra memory of a function, each call in a process of its own."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

Run = Callable[[], object]
"""The work. If it returns a float, it has timed itself: these are its CPU seconds."""
Make = Callable[[int], Run]
"""From a size to the function that is measured; inputs are built outside it."""

MIB = 2**20


@dataclass(frozen=True)
class Task:
    """One piece of work, done by several implementations.

    Attributes:
        name: how it is called on the command line and in the results.
        title: what is measured, as a heading.
        sizes: the sizes measured, each in a process of its own.
        implementations: what does the work; the first is ours, which the others are compared with.
        largest: the largest size worth waiting for, where an implementation has one.
        unit: what the size counts.
        floating_point_operations: at a size, for the rate to be compared with a bare matrix product's.
        warm: the size of the call that loads code and fills the allocator before anything is measured; 0 for none.
    """

    name: str
    title: str
    sizes: tuple[int, ...]
    implementations: dict[str, Make]
    largest: dict[str, int] = field(default_factory=dict)
    unit: str = "B"
    floating_point_operations: Callable[[int], float] | None = None
    warm: int = 64

    def at(self, size: int) -> dict[str, Make]:
        return {name: make for name, make in self.implementations.items() if size <= self.largest.get(name, size)}


@dataclass(frozen=True)
class Sample:
    """One measurement: CPU seconds a call (user and system), and the peak of resident memory above that before it."""

    seconds: float
    extra_mib: float


def _resident() -> int:
    """Bytes resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """The most bytes that were resident at once in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _measure(make: Make, size: int, warm: int, shortest: float) -> Sample:
    if warm:
        make(min(warm, size))()
    run = make(size)
    with suppress(OSError):  # where the kernel lets us, forget the peak of what came before
        Path("/proc/self/clear_refs").write_text("5")
    before = _resident()
    # A small call is repeated: the clock of CPU time ticks coarsely.
    calls, start = 0, time.process_time()
    while not calls or time.process_time() - start < shortest:
        own_time = run()
        calls += 1
        if isinstance(own_time, float):
            break
    seconds = own_time if isinstance(own_time, float) else (time.process_time() - start) / calls
    return Sample(seconds, max(0, _peak() - before) / MIB)


def _child(connection, make: Make, size: int, warm: int, shortest: float) -> None:
    try:
        connection.send(_measure(make, size, warm, shortest))
    except Exception as error:  # whatever a peer raises is a cell of the table
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])


def in_a_process(make: Make, size: int, warm: int = 64, shortest: float = 0.3) -> Sample | str:
    """Measures in a forked process; its memory starts as ours is, and what it does leaves no trace here.

    Returns:
        the measurement, or the error as one line.
    """
    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, make, size, warm, shortest))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return f"died with exit code {process.exitcode}"
    finally:
        process.join()


def run(task: Task, repeats: int, largest: int | None = None, budget: float = 150.0) -> Iterator[dict]:
    """Measures a task, one row a size and implementation.

    The implementations take turns, A B A B, so that a busy machine is unkind to all of them; ratios are of neighbours.
    A size is not repeated once its timed calls have taken more than `budget` CPU seconds.
    """
    for size in task.sizes:
        if largest is not None and size > largest:
            continue
        samples: dict[str, list[Sample]] = {name: [] for name in task.at(size)}
        errors: dict[str, str] = {}
        for _ in range(repeats):
            for name in [name for name in samples if name not in errors]:
                result = in_a_process(task.implementations[name], size, task.warm)
                if isinstance(result, str):
                    errors[name] = result
                else:
                    samples[name].append(result)
            if sum(s.seconds for measured in samples.values() for s in measured) > budget:
                break
        ours = samples[next(iter(samples))]
        for name, measured in samples.items():
            row = {"task": task.name, "size": size, "implementation": name}
            if name in errors or not measured:
                yield {**row, "error": errors.get(name, "not measured")}
                continue
            ratios = [b.seconds / a.seconds for a, b in zip(ours, measured, strict=False)]
            row |= {
                "cpu_seconds": statistics.median(s.seconds for s in measured),
                "all_cpu_seconds": [s.seconds for s in measured],
                "extra_mib": statistics.median(s.extra_mib for s in measured),
                "time_ratio_to_ours": statistics.median(ratios) if ratios else None,
            }
            if task.floating_point_operations is not None:
                row["gflops"] = task.floating_point_operations(size) / row["cpu_seconds"] / 1e9
            yield row


PACKAGES = (
    "torch",
    "lightning",
    "open-clip-torch",
    "lightly",
    "pytorch-metric-learning",
    "sentence-transformers",
    "faiss-cpu",
    "transformers",
)


def machine() -> dict:
    """What the figures depend on besides the code."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line[:10] == "model name"
    ]
    return {
        "cpu": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "versions": versions,
    }
