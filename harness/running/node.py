"""What happens on a node of a cluster: it says whether it can do runs, and does them in a worker of its own.

Around each run stands the same process as on one machine, so nothing that a record says depends on who began it.
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from harness.recipes.catalog import REPOSITORY, importable
from harness.running.plan import unfetched
from harness.running.pool import Pool
from harness.running.recording import versions
from harness.running.run import Run

EVERY = 2.0
"""Seconds between two reports of a run's steps, so that many runs do not drown the one that listens."""
_KINDS = {".py", ".yaml", ".json", ".txt", ".safetensors"}
_pool: dict[str, Pool] = {}
"""By the devices it sees: the worker of this process, kept from one run to the next since loading torch takes long."""


@functools.cache
def state(root: Path | None = None) -> dict[str, str]:
    """What must be the same on all nodes: the code, what it reads, and the versions that it stands on.

    Args:
        root: of the papers, where it is not this repository.
    """
    digest = hashlib.sha256()
    roots = [(REPOSITORY / name, "**/*") for name in ("common", "data", "harness", "papers")]
    if root is not None:
        roots += [(root, "*.py"), (root / "papers", "**/*")]
    for folder, pattern in roots:
        for path in sorted(folder.glob(pattern)):
            if path.suffix in _KINDS:
                digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return {"the code": digest.hexdigest()[:12]} | versions()


def differences(expected: Mapping[str, str], root: Path | None) -> str:
    """In which parts of `state` this node is not as expected; "" if in none."""
    own = state(root)
    differing = [name for name in expected if own.get(name) != expected[name]]
    return ", ".join(f"{name} is {own.get(name, 'absent')}, not {expected[name]}" for name in differing)


def faults(expected: Mapping[str, str], root: Path | None, sections: Sequence[str]) -> str:
    """Why runs with these data, as from `data_sections`, cannot be done on this node; "" if they can."""
    if (found := differences(expected, root)) or not sections:
        return found
    from harness.recipes.recipe import build_benchmark

    if root is not None:
        importable(root)
    missing: dict[str, None] = {}
    for section in sections:
        if names := unfetched(section):
            missing |= dict.fromkeys(f"{name} is not fetched there" for name in names)
        elif (benchmark := build_benchmark(json.loads(section))).data_root is not None:
            try:
                benchmark.prepare_data()
            except UserError as error:
                missing[str(error)] = None
    return ", ".join(missing)


def relay(run: Run, logs: Path, expected: Mapping[str, str], root: Path | None) -> Iterator[tuple[str, Any]]:
    """Does a run in a worker and hands on what it says, as `Workers.receive` has it."""
    # A node may have joined after the others were asked.
    if found := differences(expected, root):
        yield "failed", f"this node cannot do it: {found}"
        return
    pool = _own_pool(logs)
    told = -EVERY
    try:
        with _without_main():
            pool.give(run)
        while pool.busy:
            for worker in pool.ready(timeout=60):
                of, kind, content = pool.receive(worker)
                if of is None or (kind == "step" and time.monotonic() - told < EVERY):
                    continue
                told = time.monotonic() if kind == "step" else told
                yield kind, content
    finally:
        if pool.busy:  # the run is no longer asked for
            _pool.popitem()[1].__exit__()


def _own_pool(logs: Path) -> Pool:
    key = f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {logs}"
    if key not in _pool:
        while _pool:
            _pool.popitem()[1].__exit__()
        _pool[key] = Pool(1, logs)
    return _pool[key]


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keeps a worker that is started meanwhile from loading the program of this process, which is Ray's."""
    main = vars(sys.modules["__main__"])
    file = main.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file
