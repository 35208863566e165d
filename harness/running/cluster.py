"""Runs as tasks of a Ray cluster. What is on record is written here, by the process that sends them, alone.

Ray is imported when a cluster is asked for: the command line answers without it.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from harness.recipes.catalog import REPOSITORY
from harness.running.plan import data_sections
from harness.running.run import Run
from harness.running.runner import cores

AGAIN = 2
"""How often a run is tried again whose worker or node was lost."""


@dataclass
class Task:
    """A run that was sent."""

    run: Run
    stream: Any
    """Ray's generator of references to what the task says."""
    lost: int = 0
    """How often its worker was."""


class Tasks:
    """The runs that are with the cluster, as `Workers`: at most `size` of them at a time."""

    def __init__(self, cluster: "Cluster", size: int, logs: Path) -> None:
        self.cluster, self.size, self.logs = cluster, size, logs
        self.tasks: list[Task] = []

    def __enter__(self) -> "Tasks":
        return self

    def __exit__(self, *_: object) -> None:
        for task in self.tasks:
            self.cluster.ray.cancel(task.stream, force=True)

    @property
    def busy(self) -> bool:
        return bool(self.tasks)

    @property
    def full(self) -> bool:
        return len(self.tasks) >= self.size

    def give(self, run: Run) -> None:
        self.tasks.append(Task(run, self.cluster.send(run, self.logs)))

    def ready(self, timeout: float) -> list[Task]:
        streams = [task.stream for task in self.tasks]
        if not streams:
            return []
        wait = self.cluster.ray.wait
        if wait(streams, num_returns=1, timeout=timeout)[0]:
            found = {id(stream) for stream in wait(streams, num_returns=len(streams), timeout=0)[0]}
            return [task for task in self.tasks if id(task.stream) in found]
        return []

    def receive(self, worker: Task) -> tuple[Run | None, str, Any]:
        ray = self.cluster.ray
        try:
            kind, content = ray.get(next(worker.stream))
        except ray.exceptions.RayTaskError as error:
            kind, content = "failed", _first_line(error.cause)
        except (ray.exceptions.RayError, StopIteration) as error:
            # The second sentence tells of log files of Ray.
            kind, content = "lost", _first_line(error).partition(". ")[0].rstrip(".")
        if kind == "lost" and worker.lost < AGAIN:
            worker.lost += 1
            worker.stream = self.cluster.send(worker.run, self.logs)
            return worker.run, "note", f"{content}; it is tried again ({worker.lost} of {AGAIN})"
        if kind in ("done", "failed", "lost"):
            self.tasks.remove(worker)
        return worker.run, kind, f"{content}, {AGAIN + 1} times" if kind == "lost" else content


class Cluster:
    """A connection to Ray. Its `hire` is what `execute` takes."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.root: Path | None = None
        self.expected: dict[str, str] = {}

    def slots(self, full: bool = False) -> int:
        """How many runs go at a time: one a core, or one a GPU if they are `full` and there are some."""
        there = self.ray.cluster_resources()
        return max(1, int((full and there.get("GPU")) or there.get("CPU", 0)))

    def hire(self, runs: Sequence[Run], size: int, logs: Path) -> Tasks:
        """As `execute` asks for it.

        Raises:
            UserError: names the nodes that lack the code, its versions or the data, or the run that is too large.
        """
        from harness.running.node import faults, relay, state

        self.root = None if runs[0].root == REPOSITORY else runs[0].root
        self.expected = state(self.root)
        nodes = [node for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        for run in runs:
            needs = self._needs(run)
            wanted = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
            if not any(all(node["Resources"].get(k, 0) >= n for k, n in wanted.items()) for node in nodes):
                told = " and ".join(f"{n} {k}" for k, n in wanted.items() if n)
                raise UserError(f"{run.name} needs {told} on one node, and no node of the cluster has them")
        # Its worker ends with the task: what it has loaded is not for those of runs.
        ask = self.ray.remote(num_cpus=0, max_calls=1)(faults)
        pin = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        here = self.ray.get_runtime_context().get_node_id()
        sections = data_sections([run for run in runs if run.twin is None])
        asked = []
        for node in nodes:
            there = ask.options(scheduling_strategy=pin(node["NodeID"], soft=False))
            # What this machine has is known already.
            asked.append(there.remote(self.expected, self.root, [] if node["NodeID"] == here else sections))
        answers = [(node["NodeManagerHostname"], self._answer(one)) for node, one in zip(nodes, asked, strict=True)]
        if found := [f"{name}: {fault}" for name, fault in answers if fault]:
            raise UserError(f"{len(found)} of {len(nodes)} nodes cannot do these runs; {'; '.join(found)}")
        self.task = self.ray.remote(relay)
        return Tasks(self, size, logs)

    def send(self, run: Run, logs: Path) -> Any:
        """A task that does the run; Ray's generator of what it says."""
        # Whether a lost worker's run is tried again is decided here, where it can be told.
        options = self._needs(run) | {"name": run.name, "max_retries": 0}
        return self.task.options(**options).remote(run, logs.absolute(), self.expected, self.root)

    def _needs(self, run: Run) -> dict[str, int]:
        trainer = (run.config or {}).get("trainer", {})
        devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
        count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
        on_gpu = run.config is not None and (
            accelerator in ("gpu", "cuda") or (accelerator == "auto" and self.ray.cluster_resources().get("GPU", 0) > 0)
        )
        return {"num_cpus": count, "num_gpus": count if on_gpu else 0}

    def _answer(self, reference: Any) -> str:
        try:
            return self.ray.get(reference, timeout=600)
        except self.ray.exceptions.RayTaskError as error:
            return _first_line(error.cause)
        except self.ray.exceptions.RayError as error:
            return _first_line(error)


@contextlib.contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[Cluster]:
    """A cluster, until the end of the block.

    Args:
        address: "auto" for the one that this machine is a node of, the HOST:PORT of its head, or "local" for one on
            this machine that ends with the block.
        workers: cores of a local one.

    Raises:
        UserError: Ray is not installed, or no cluster answers there.
    """
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError("--cluster needs Ray: pip install 'contrastive-papers[cluster]'") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells its makers nothing
        options |= {"num_cpus": workers or cores(), "include_dashboard": False}
    elif address != "auto":
        _knock(address)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **options)
    except Exception as error:
        raise UserError(f"--cluster {address}: {_first_line(error)}") from None
    finally:
        # Ray takes SIGTERM for itself.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate or signal.SIG_DFL)
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises UserError where nobody answers, for which Ray would wait a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UserError(f"--cluster is '{address}'; it must be auto, local or HOST:PORT, as `ray start --head` says")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"--cluster {address}: no cluster answers there: {error}") from None


def _first_line(error: BaseException) -> str:
    if isinstance(error, StopIteration):
        return "its task ended without a result"
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
