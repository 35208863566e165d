"""A worker: a process of one thread that trains and scores one run after the other and tells its parent."""

import contextlib
import functools
import gc
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.lifetime import die_with
from harness.recipes.catalog import importable
from harness.records import machine
from harness.running.alone import scores_of
from harness.running.run import Result, Run
from harness.running.work import checking, training

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # The order of a set of strings must not differ from one process to the next.
    "PYTHONHASHSEED": "0",
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Set before a worker starts: libraries read these when they are loaded."""


def serve(connection: Connection, logs: Path) -> None:
    """The life of a worker: takes runs until it is told None.

    Sends ("step", (done, total)) while it trains, ("note", text) for what goes wrong beside it, then
    ("done", Result) or ("failed", message).
    """
    die_with_parent()
    # Once more, for systems without signal masks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    try:
        while (run := connection.recv()) is not None:
            connection.send(_outcome(run, logs, connection))
    except (EOFError, BrokenPipeError):
        os._exit(1)  # the parent is gone


def die_with_parent() -> None:
    """Ends this process when its parent does, however that ends."""
    parent = multiprocessing.parent_process()
    if not die_with(parent.pid if parent is not None else None) and parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _outcome(run: Run, logs: Path, connection: Connection) -> tuple[str, Any]:
    def note(text: str) -> None:
        connection.send(("note", text))

    folder: Path | None = run.log_folder(logs)
    try:
        # A repeated run starts a new curve instead of a second one in the same plot.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _redirect(folder / "output.txt")
    except OSError as error:
        note(f"no logs are kept: {error.filename}: {error.strerror}")
        folder = None
        _redirect(Path(os.devnull))
    try:
        return "done", perform(run, folder, lambda done, total: connection.send(("step", (done, total))), note)
    except UserError as error:
        return "failed", str(error)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return "failed", f"{reason} (traceback in {folder / 'output.txt'})" if folder else reason
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class _Forgiving:
    """A text stream whose writes may fail: a result is worth more than what is said on the way."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _redirect(path: Path) -> None:
    """Sends what this process prints, in Python and below, to a file.

    Raises:
        OSError: the file cannot be made.
    """
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), _Forgiving):
            setattr(sys, name, _Forgiving(getattr(sys, name)))


def perform(
    run: Run,
    log_folder: Path | None,
    report: Callable[[int, int], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> Result:
    """Does one run in this process.

    Args:
        log_folder: where curves and the resolved recipe go; None keeps none.
        report: is told the steps done and their total, about twice a second.
        note: is told what went wrong beside the run.

    Raises:
        UserError: the recipe is wrong, the loss is not finite, or a metric is not.
    """
    importable(run.root)
    # Trainer, module and data of the run before refer to one another, and wait for this.
    gc.collect()
    # Loading the libraries is no part of the run: the first of a worker would look the slowest.
    if run.config is None:
        work = checking(run)
    elif run.config.get("trainer", {}).get("devices", 1) in (1, "1", "auto"):
        work = training(run, log_folder, report, note)
    else:
        work = functools.partial(scores_of, run, log_folder)
    _reset_peak_memory()
    start, cpu_start = time.perf_counter(), machine.cpu_seconds()
    scores = work()
    seconds, cpu_seconds = time.perf_counter() - start, machine.cpu_seconds() - cpu_start
    for name, value in scores.metrics.items():
        if not math.isfinite(value):
            raise UserError(f"the metric '{name}' is {value}")
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    return Result(scores, seconds, cpu_seconds, _peak_memory_mb(), threads, machine.capability(), machine.processor())


def _reset_peak_memory() -> None:
    if sys.platform == "linux":
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - a switch of the kernel, not a file
            file.write("5")


def _peak_memory_mb() -> float:
    """Peak resident memory of this run, or where the system cannot tell runs apart, of this worker so far."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
