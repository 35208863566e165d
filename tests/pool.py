"""Runs a function on several gloo processes. The processes are started once and serve the whole test run.

They descend from a fork server that has torch loaded already: forking the test process itself would copy its threads'
locks, and a fresh interpreter for each test would cost seconds.
"""

import atexit
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # Imported by DistributedDataParallel: seconds, better spent once in the fork server.
import torch.distributed as dist


def run(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function(*arguments) on every process of a group; the results in rank order.

    `function` is found by its module and name, so it stands at the top level of a module. Tensors in its result must be
    detached.
    """
    pipes = _group(world_size)
    for pipe in pipes:
        pipe.send((function, arguments))
    answers = [pipe.recv() for pipe in pipes]
    failures = [answer for answer in answers if isinstance(answer, _Failure)]
    assert not failures, "\n".join(failure.text for failure in failures)
    return answers


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


@cache
def _group(world_size: int) -> list[Connection]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pool"])
    store = tempfile.mkdtemp(prefix="gloo-")
    pipes = []
    for rank in range(world_size):
        ours, theirs = context.Pipe()
        # A daemon ends with the test process, whatever ends that.
        context.Process(target=_serve, args=(theirs, rank, world_size, store), daemon=True).start()
        pipes.append(ours)
    atexit.register(lambda: [pipe.send(None) for pipe in pipes])
    return pipes


def _serve(pipe: Connection, rank: int, world_size: int, store: str) -> None:
    torch.set_num_threads(1)
    # Only this machine takes part, whatever its host name resolves to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{Path(store) / 'store'}", rank=rank, world_size=world_size)
    while (task := pipe.recv()) is not None:
        function, arguments = task
        try:
            pipe.send(function(*arguments))
        except Exception:
            pipe.send(_Failure(f"process {rank} of {world_size}:\n{traceback.format_exc()}"))
    dist.destroy_process_group()
