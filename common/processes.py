"""Runs a function on several gloo processes and hands back what each returned."""

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import start_processes

from common.lifetime import die_with


def _process(rank: int, world: int, folder: str, function: Callable[[], Any], parent: int) -> None:
    die_with(parent)
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group(
        "gloo", init_method=store, timeout=timedelta(seconds=60), rank=rank, world_size=world
    )
    try:
        torch.save(function(), f"{folder}/{rank}.pt")
        # Who leaves early cuts the connection that the others may still be setting up.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def on_processes(world: int, function: Callable[[], Any]) -> list[Any]:
    """The results of `function()` in rank order: tensors, numbers, and lists and dicts of them.

    Forked, so that a local function will do.
    """
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_process, (world, folder, function, os.getpid()), nprocs=world, start_method="fork")
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]
