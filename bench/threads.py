"""Seconds on one thread, on two, and on two while something else keeps a core busy.

Elapsed time of one call, forward and backward, each in a process of its own; the least over repeats in which all take
turns. A machine that others use has its cores busy now and then, and torch takes all of them by default.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.losses import TEMPERATURE, dense_sup_con, forward_and_backward, on_both_views, pair
from bench.measure import Make, Run, machine
from bench.report import seconds, table, versions
from common import losses as ours
from common.scores import Scores

SIZES = (128, 256, 512, 2048, 4096, 8192)
NEIGHBOURS = 10


@dataclass(frozen=True)
class Setting:
    """How many threads of torch's, and whether a neighbour keeps a core busy."""

    threads: int
    busy: bool = False

    def __str__(self) -> str:
        return f"{self.threads} thread{'s' * (self.threads > 1)}{', a core busy' * self.busy}"


SETTINGS = (Setting(1), Setting(2), Setting(2, busy=True))


def _dense_symmetric(query: Tensor, key: Tensor) -> Tensor:
    logits, own = query @ key.T / TEMPERATURE, torch.arange(len(query))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _dense_sigmoid(query: Tensor, key: Tensor) -> Tensor:
    signs = 2 * torch.eye(len(query)) - 1
    return -F.logsigmoid(signs * (query @ key.T / TEMPERATURE - 10)).sum() / len(query)


def _nearest(size: int) -> Run:
    query, key = (x.detach() for x in pair(size))
    return lambda: Scores(query, key).topk(min(NEIGHBOURS, size))


def _dense_nearest(size: int) -> Run:
    query, key = (x.detach() for x in pair(size))
    return lambda: (query @ key.T).topk(min(NEIGHBOURS, size))


TASKS: dict[str, tuple[Make, Make]] = {
    "symmetric InfoNCE": (
        forward_and_backward(lambda q, k: ours.symmetric_info_nce(q, k, temperature=TEMPERATURE)),
        forward_and_backward(_dense_symmetric),
    ),
    "sigmoid": (
        forward_and_backward(lambda q, k: ours.sigmoid_pairwise(q, k, scale=1 / TEMPERATURE, bias=-10.0)),
        forward_and_backward(_dense_sigmoid),
    ),
    "SupCon": (
        on_both_views(lambda a, b, y: ours.sup_con(torch.cat([a, b]), y.repeat(2), temperature=TEMPERATURE)),
        on_both_views(lambda a, b, y: dense_sup_con(torch.cat([a, b]), y.repeat(2), TEMPERATURE)),
    ),
    "nearest neighbours (retrieval, kNN, mining)": (_nearest, _dense_nearest),
}
"""Ours, and the same with the matrix whole."""


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Something else that wants a core, if so."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _elapsed(make: Make, size: int, threads: int, shortest: float = 0.3) -> float:
    torch.set_num_threads(threads)
    make(64)()
    run = make(size)
    run()
    calls, start = 0, time.perf_counter()
    while not calls or time.perf_counter() - start < shortest:
        run()
        calls += 1
    return (time.perf_counter() - start) / calls


def _child(connection, make: Make, size: int, threads: int) -> None:
    connection.send(_elapsed(make, size, threads))


def in_a_process(make: Make, size: int, setting: Setting) -> float:
    """Forked, so that torch's threads are those of this measurement alone."""
    context = get_context("fork")
    here, there = context.Pipe()
    with neighbour(setting.busy):
        process = context.Process(target=_child, args=(there, make, size, setting.threads))
        process.start()
        there.close()
        try:
            return here.recv()
        finally:
            process.join()


def measured(make: tuple[Make, Make], size: int, repeats: int) -> list[list[float]]:
    """The least seconds of ours and of the dense one, at each setting."""
    samples = [
        [[in_a_process(one, size, setting) for setting in SETTINGS] for one in make] for _ in range(max(1, repeats))
    ]
    return [[min(part[i][j] for part in samples) for j in range(len(SETTINGS))] for i in range(len(make))]


def main(folder: Path, repeats: int = 3, largest: int | None = None) -> None:
    """Prints the table and writes it to `folder`."""
    rows, gains, losses = [], [], []
    for task, makes in TASKS.items():
        for size in [size for size in SIZES if largest is None or size <= largest]:
            mine, dense = measured(makes, size, repeats)
            row = [task, str(size), *(f"{seconds(a)} ({b / a:.2f})" for a, b in zip(mine, dense, strict=True))]
            row += [f"{mine[0] / mine[1]:.2f} ({dense[0] / dense[1]:.2f})"]
            row += [f"{mine[2] / mine[0]:.2f} ({dense[2] / dense[0]:.2f})"]
            rows.append(row)
            print(" | ".join(row), flush=True)
            if size >= 2048:
                gains.append(mine[0] / mine[1])
                losses.append(mine[2] / mine[0])
    head = ["", "N", *map(str, SETTINGS), "gain of the second thread", "busy over one thread"]
    summary = "From 2,048 rows on nothing was measured."
    if gains:
        summary = (
            f"From 2,048 rows on the second thread gains {statistics.median(gains):.2f} in the median and "
            f"{min(gains):.2f} at least; with a core busy two threads take {statistics.median(losses):.2f} of the time "
            f"of one in the median and {max(losses):.2f} at most."
        )
    parts = [
        "# Threads",
        " ".join((__doc__ or "").split()),
        "In parentheses the time of the matrix whole over ours, and the same gains of it. Width 256, float32.",
        versions(machine() | {"threads": "1 and 2"}),
        table(head, rows),
        summary,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "threads.md").write_text("\n\n".join(parts) + "\n")
