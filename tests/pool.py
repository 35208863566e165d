"""Runs a function on several gloo processes. The processes are started once and serve the whole test run.

They descend from a fork server that has torch loaded already: forking the test process itself would copy its threads'
locks, and a fresh interpreter for each test would cost seconds.
"""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # Imported by DistributedDataParallel: seconds, better spent once in the fork server.
import torch.distributed as dist

_groups: dict[int, tuple[list[Connection], list[BaseProcess]]] = {}


def run(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function(*arguments) on every process of a group; the results in rank order.

    `function` is found by its module and name, so it stands at the top level of a module. Tensors in its result must be
    detached.
    """
    if world_size not in _groups:
        _groups[world_size] = _start(world_size)
    pipes, processes = _groups[world_size]
    for pipe in pipes:
        pipe.send((function, arguments))
    answers: dict[Connection, Any] = {}
    while len(answers) < world_size:
        for pipe in wait([pipe for pipe in pipes if pipe not in answers]):
            answers[pipe] = pipe.recv()
            if isinstance(answers[pipe], _Failure):
                # The others may wait for it in a collective for ever: this group is lost, the next call starts another.
                for process in processes:
                    process.kill()
                del _groups[world_size]
                raise AssertionError(answers[pipe].text)
    return [answers[pipe] for pipe in pipes]


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _start(world_size: int) -> tuple[list[Connection], list[BaseProcess]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pool"])
    store = tempfile.mkdtemp(prefix="gloo-")
    pipes, processes = [], []
    for rank in range(world_size):
        ours, theirs = context.Pipe()
        # A daemon ends with the test process, whatever ends that.
        process = context.Process(target=_serve, args=(theirs, rank, world_size, store), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    return pipes, processes


def _serve(pipe: Connection, rank: int, world_size: int, store: str) -> None:
    torch.set_num_threads(1)
    # Only this machine takes part, whatever its host name resolves to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Processes that wait for one another for ever should fail the test, not the patience of whoever runs it.
    meeting = {"init_method": f"file://{Path(store) / 'store'}", "timeout": timedelta(minutes=2)}
    dist.init_process_group("gloo", rank=rank, world_size=world_size, **meeting)
    while True:
        try:
            function, arguments = pipe.recv()
            answer = function(*arguments)
        except EOFError:
            return
        except Exception:
            answer = _Failure(f"process {rank} of {world_size}:\n{traceback.format_exc()}")
        pipe.send(answer)
