"""A pool of worker processes that lives and dies with its parent."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

from harness.running.run import Run
from harness.running.worker import ENVIRONMENT, serve


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

    def idle(self) -> Worker:
        """A worker without a run, a new one if need be; asked only of a pool that is not `full`."""
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
        """The workers that have something to say, after waiting for at most `timeout` seconds."""
        by_connection = {worker.connection: worker for worker in self.workers}
        return [by_connection[connection] for connection in wait(list(by_connection), timeout)]

    def receive(self, worker: Worker) -> tuple[Run | None, str, object]:
        """One message of a worker that is ready: its run, "step", "note", "done" or "failed", and the content."""
        run = worker.run
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            self.workers.remove(worker)
            worker.process.join()
            worker.connection.close()
            kind, content = "failed", _last_words(worker.process.exitcode)
        if kind in ("done", "failed"):
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
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
