"""`make bench-gpu`: the losses on a GPU beside their peers, within eight minutes, into results/bench/gpu.{json,md}.

python -m bench.gpu                              everything, on the first GPU
python -m bench.gpu --device cpu --sizes 256     whether the script runs at all; its figures say nothing

Inf-CL's kernel takes part if BENCH_CHECKOUTS names a folder with a clone of its repository, folder/Inf-CLIP.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.measure import machine
from bench.report import ratio, seconds, table
from common import losses as ours
from common.tiled.backends import using
from common.tiled.tiles import tf32

WIDTH = 512
SIZES = (2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
LONGEST = 2.0
"""Seconds of one call above which an implementation is not tried at the next size, four times as much work."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of queries, keys and a learned scale."""


class Cell(NamedTuple):
    """What is measured of one implementation at one size."""

    seconds: float
    """The median over calls, forward and backward."""
    mebibytes: float
    """The peak of allocated memory above that of the inputs and their gradients."""


def _symmetric(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    return ours.symmetric_info_nce(query, key, temperature=1 / scale)


def _sigmoid(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    return ours.sigmoid_pairwise(query, key, scale=scale, bias=-10.0)


def _dense_symmetric(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    logits, target = scale * query @ key.T, torch.arange(len(query), device=query.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _dense_sigmoid(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    signs = 2 * torch.eye(len(query), device=query.device) - 1
    return -F.logsigmoid(signs * (scale * query @ key.T - 10.0)).sum() / len(query)


def _with(backend: str, loss: Loss) -> Loss:
    def run(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
        with using(backend):
            return loss(query, key, scale)

    return run


def _peers() -> dict[str, dict[str, Callable[[], Loss]]]:
    """By task and name what makes an implementation; the first of a task is ours."""

    def open_clip(name: str) -> Callable[[], Loss]:
        def make() -> Loss:
            loss = getattr(importlib.import_module("open_clip.loss"), name)()
            if name == "ClipLoss":
                return loss
            return lambda query, key, scale: loss(query, key, scale, scale.new_tensor(-10.0))

        return make

    def inf_cl() -> Loss:
        folder = Path(os.environ.get("BENCH_CHECKOUTS", "")) / "Inf-CLIP"
        if not folder.is_dir():
            raise ImportError("no clone of Inf-CLIP under BENCH_CHECKOUTS")
        sys.path.insert(0, str(folder))
        kernel = importlib.import_module("inf_cl").cal_flash_loss
        target: dict[int, Tensor] = {}

        def loss(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
            labels = target.setdefault(len(query), torch.arange(len(query), device=query.device))
            return (kernel(query, key, labels, scale) + kernel(key, query, labels, scale)) / 2

        return loss

    return {
        "symmetric InfoNCE": {
            "ours, tiles": lambda: _with("cuda", _symmetric),
            "ours, Triton": lambda: _with("triton", _symmetric),
            "dense": lambda: _dense_symmetric,
            "torch.compile of dense": lambda: torch.compile(_dense_symmetric),
            "open_clip ClipLoss": open_clip("ClipLoss"),
            "Inf-CL": inf_cl,
        },
        "sigmoid": {
            "ours, tiles": lambda: _with("cuda", _sigmoid),
            "dense": lambda: _dense_sigmoid,
            "torch.compile of dense": lambda: torch.compile(_dense_sigmoid),
            "open_clip SigLipLoss": open_clip("SigLipLoss"),
        },
    }


def _inputs(size: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    query = F.normalize(torch.randn(size, WIDTH, generator=generator, device=device), dim=1)
    key = F.normalize(query + 0.05 * torch.randn(size, WIDTH, generator=generator, device=device), dim=1)
    scale = torch.tensor(1 / 0.07, device=device)
    return [x.requires_grad_() for x in (query.to(dtype), key.to(dtype), scale)]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(loss: Loss, size: int, dtype: torch.dtype, device: torch.device) -> Cell:
    """Time and memory of forward and backward, after a call that compiles and fills the allocator."""
    inputs = _inputs(size, dtype, device)

    def step() -> float:
        for x in inputs:
            x.grad = None
        _wait(device)
        start = time.perf_counter()
        loss(*inputs).backward()
        _wait(device)
        return time.perf_counter() - start

    step()
    first, before = step(), 0
    if device.type == "cuda":
        for x in inputs:
            x.grad = None
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    times = [first, *(step() for _ in range(max(1, min(20, int(0.3 / max(first, 1e-4))))))]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    gradients = sum(x.numel() * x.element_size() for x in inputs)
    return Cell(statistics.median(times), max(0, peak - before - gradients) / 2**20)


def _rate(size: int, precision: str, device: torch.device) -> float:
    """Floating-point operations a second of one bare product of this precision: what a loss could reach."""
    query, key, _ = (x.detach() for x in _inputs(min(size, 16384), PRECISIONS[precision], device))
    for _ in range(3):
        query @ key.T
    _wait(device)
    start, calls = time.perf_counter(), 10
    for _ in range(calls):
        query @ key.T
    _wait(device)
    return calls * 2 * len(query) ** 2 * WIDTH / (time.perf_counter() - start)


def rows(device: torch.device, sizes: tuple[int, ...], limit: float) -> Iterator[dict]:
    """One row a task, precision, size and implementation, until the time is up."""
    started = time.monotonic()
    for task, makers in _peers().items():
        for precision, dtype in PRECISIONS.items():
            done: set[str] = set()
            # Of the peers; ours asks for it by itself.
            torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
            peak = _rate(sizes[-1], precision, device)
            for size in sizes:
                reference = None
                for name, make in makers.items():
                    row = {"task": task, "precision": precision, "size": size, "implementation": name}
                    if name in done:
                        continue
                    if time.monotonic() - started > limit:
                        yield {**row, "error": "the time was up"}
                        continue
                    try:
                        with ExitStack() as stack:
                            if precision == "tf32":
                                stack.enter_context(tf32())
                            cell = measure(make(), size, dtype, device)
                    except Exception as error:  # whatever a peer raises, memory included, is a cell of the table
                        done.add(name)
                        yield {**row, "error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
                        continue
                    reference = reference or cell.seconds
                    done |= {name} if cell.seconds > LONGEST else set()
                    share = 3 * 2 * size**2 * WIDTH / cell.seconds / peak
                    yield {**row, **cell._asdict(), "ratio": cell.seconds / reference, "share": share}
                    if device.type == "cuda":
                        torch.cuda.empty_cache()


def write(folder: Path, found: list[dict], name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps({"device": name, "machine": machine(), "rows": found}, indent=1) + "\n")
    parts = [
        "# Losses on a GPU",
        f"{name}, torch {torch.__version__}, D = {WIDTH}: forward and backward, the median; memory above that of "
        "inputs and gradients; the share is of the rate of one bare matrix product of that precision, for the three "
        "products that no exact implementation can do without. In bf16 the inputs are bf16; ours computes in float32.",
    ]
    head = ["B", "implementation", "time", "time / ours", "extra memory", "share of product"]
    for task, precision in dict.fromkeys((row["task"], row["precision"]) for row in found):
        lines = []
        for row in (r for r in found if (r["task"], r["precision"]) == (task, precision)):
            cells = [str(row["size"]), row["implementation"]]
            if "error" in row:
                lines.append([*cells, row["error"], "", "", ""])
            else:
                figures = (
                    seconds(row["seconds"]),
                    ratio(row["ratio"]),
                    f"{row['mebibytes']:.0f} MiB",
                    f"{row['share']:.0%}",
                )
                lines.append([*cells, *figures])
        parts.append(f"## {task}, {precision}\n\n{table(head, lines)}")
    (folder / "gpu.md").write_text("\n\n".join(parts) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Measures the losses on a GPU.")
    parser.add_argument("--device", default="cuda", help="where (default cuda)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="batch sizes")
    parser.add_argument("--limit", type=float, default=440.0, help="seconds after which no cell is begun (default 440)")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for the table")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU here; --device cpu tries the script itself")
    warnings.filterwarnings("ignore")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU, whose figures say nothing"
    found = []
    for row in rows(device, tuple(given.sizes), given.limit):
        found.append(row)
        said = row.get("error") or f"{seconds(row['seconds'])}, {row['mebibytes']:.0f} MiB"
        print(f"{row['task']:18} {row['precision']:8} {row['size']:>7} {row['implementation']:24} {said}", flush=True)
        write(given.out, found, name)  # after each cell: what was measured is not lost
    return 0


if __name__ == "__main__":
    sys.exit(main())
