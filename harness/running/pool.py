"""A pool of worker processes that lives and dies with its parent."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from harness.running.run import Run
from harness.running.worker import ENVIRONMENT, serve


class Workers(Protocol):
    """Who does runs: processes of this machine, as `Pool` has them, or tasks of a cluster. A context, too."""

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""

    @property
    def full(self) -> bool:
        """Whether no other run may be given for now."""

    def give(self, run: Run) -> None:
        """Begins a run; asked only of one that is not `full`."""

    def ready(self, timeout: float) -> Sequence[Any]:
        """Those that have something to say, after waiting for at most `timeout` seconds."""

    def receive(self, worker: Any) -> tuple[Run | None, str, Any]:
        """One message of a worker that is ready: its run, "step", "note", "done", "failed" or "lost", and the content.

        The last three end the run; it is lost where its process ended under it.
        """

    def __enter__(self) -> "Workers": ...

    def __exit__(self, *_: object) -> None:
        """Ends what is under way."""


class Worker:
    """One process, and the run it is doing, if any."""

    def __init__(self, logs: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # No daemon: it may itself start processes that load data. The pool sees to its end.
        self.process = context.Process(target=serve, args=(theirs, logs))
        with _environment():
            self.process.start()
        theirs.close()
        self.run: Run | None = None

    def give(self, run: Run) -> None:
        self.run = run
        with contextlib.suppress(BrokenPipeError):  # it has just died, which `receive` will tell
            self.connection.send(run)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class Pool:
    """At most `size` workers, started when they are needed and killed at the end of the `with` block."""

    def __init__(self, size: int, logs: Path) -> None:
        self.size = size
        self.logs = logs
        self.workers: list[Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()

    @property
    def busy(self) -> bool:
        return any(worker.run is not None for worker in self.workers)

    @property
    def full(self) -> bool:
        return len(self.workers) == self.size and all(worker.run is not None for worker in self.workers)

    def give(self, run: Run) -> None:
        self._idle().give(run)

    def _idle(self) -> Worker:
        """A worker without a run, a new one if need be."""
        for worker in self.workers:
            if worker.run is None:
                return worker
        if os.name == "posix":
            # Python starts this process with the first worker, and lets Ctrl-C through again when it does.
            resource_tracker.ensure_running()
        # The worker inherits this deafness: Ctrl-C reaches every process of a terminal, a scheduler's SIGTERM every
        # process of a job, and the parent alone answers.
        with uninterrupted():
            self.workers.append(Worker(self.logs))
        return self.workers[-1]

    def ready(self, timeout: float) -> list[Worker]:
        by_connection = {worker.connection: worker for worker in self.workers}
        return [by_connection[connection] for connection in wait(list(by_connection), timeout)]

    def receive(self, worker: Worker) -> tuple[Run | None, str, object]:
        run = worker.run
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            self.workers.remove(worker)
            worker.process.join()
            worker.connection.close()
            kind, content = "lost", _last_words(worker.process.exitcode)
        if kind in ("done", "failed", "lost"):
            worker.run = None
        return run, kind, content


def _last_words(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (is memory short? try fewer workers)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with code {exit_code}"


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the end of the block, so that what stands in it is done whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's alone
        return
    # The mask is for processes that are started meanwhile. It does not keep a signal from other threads of this
    # process (of a progress bar, of Ray), which hand it over to this one.
    masks, came = hasattr(signal, "pthread_sigmask"), []  # Windows has none
    before = {n: signal.signal(n, lambda number, frame: came.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, set(before)) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """The environment variables of a worker, while it is started."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
