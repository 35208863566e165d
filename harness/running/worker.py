"""A worker: a process of one thread that trains and scores one run after the other and tells its parent."""

import contextlib
import functools
import gc
import importlib
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common.errors import UserError
from common.experiments.card import untrained
from common.experiments.records import Record
from common.lifetime import die_with
from harness.recipes.catalog import importable
from harness.records import machine

if TYPE_CHECKING:
    import numpy as np

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


@dataclass(frozen=True)
class Run:
    """One arm and seed of an experiment, ready to be sent to a worker."""

    paper: str
    experiment: str
    arm: str
    seed: int
    recipe: str
    recipe_hash: str
    root: Path
    metrics: tuple[str, ...]
    """The metrics that the claims on this arm are about."""
    config: dict[str, Any] | None = None
    """The recipe of a comparison, with the arm's overrides and the seed."""
    check: str | None = None
    """The "module:function" of a property."""
    expected_seconds: float | None = None
    """As earlier runs took; None if there are none."""
    split: str = "test"
    """What it is scored on."""
    knobs: dict[str, Any] | None = None
    """The values that are tried, if it is a try of `papers tune`."""
    planned: str = field(default="", compare=False)
    """When the record was looked at for it; UTC, ISO 8601."""
    twin: Record | None = None
    """The record of the same training in another experiment or paper, if there is one."""

    @property
    def name(self) -> str:
        arm = "" if self.arm == self.experiment else f" {self.arm}"
        return f"{self.paper}/{self.experiment}{arm}{self._tried(' ')} seed {self.seed}"

    @property
    def training(self) -> str:
        """The same for runs of one training: those of experiments that share an arm."""
        if self.config is None or self.knobs is not None:
            return self.name
        return f"{self.paper} {self.recipe_hash} seed {self.seed}"

    @property
    def keeps_items(self) -> bool:
        """Whether the scores of its test items are kept: an untrained network is compared by its metrics alone."""
        return self.split == "test" and not self.arm.endswith(untrained(""))

    def log_folder(self, logs: Path) -> Path:
        return logs / self.paper / self.experiment / f"{self.arm}{self._tried('@')}" / f"seed{self.seed}"

    def _tried(self, before: str) -> str:
        tried = " ".join(f"{name}={value}" for name, value in (self.knobs or {}).items())
        return before + tried.replace("/", "-") if tried else ""


class Findings(NamedTuple):
    """What a run found out."""

    benchmark: str
    metrics: dict[str, float]
    steps: int
    device: str
    data_hash: str
    first_losses: tuple[float, ...]
    means: tuple[str, ...]
    """The metrics that are means over units."""
    items: dict[str, "np.ndarray"]
    """Of those that claims are about: the value of each unit."""


class Result(NamedTuple):
    """What a worker sends back: the fields of a record that the parent cannot know."""

    scores: Findings
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    threads: int
    capability: str


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
        work = _check(run)
    elif run.config.get("trainer", {}).get("devices", 1) in (1, "1", "auto"):
        work = training(run, log_folder, report, note)
    else:
        from harness.running.alone import scores_of

        work = functools.partial(scores_of, run, log_folder)
    _reset_peak_memory()
    start, cpu_start = time.perf_counter(), machine.cpu_seconds()
    scores = work()
    seconds, cpu_seconds = time.perf_counter() - start, machine.cpu_seconds() - cpu_start
    for name, value in scores.metrics.items():
        if not math.isfinite(value):
            raise UserError(f"the metric '{name}' is {value}")
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    return Result(scores, seconds, cpu_seconds, _peak_memory_mb(), threads, machine.capability())


def training(
    run: Run, log_folder: Path | None, report: Callable[[int, int], None], note: Callable[[str], None]
) -> Callable[[], Findings]:
    """What trains and scores a run, once the libraries are loaded."""
    import torch

    from harness.recipes import recipe
    from harness.records.canary import FirstLosses

    _same_state(torch)

    def work() -> Findings:
        first = FirstLosses()
        trainer, module, benchmark = recipe.build(run.config, log_folder, (recipe.StepReporter(report), first))
        trainer.fit(module, benchmark)
        if failure := getattr(trainer.logger, "failure", None):
            note(f"its logs are not whole: {failure}")
        device = trainer.strategy.root_device
        module.to(device).eval()
        with torch.no_grad():
            found = benchmark.evaluate(module, run.split)
        device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return Findings(
            benchmark.name,
            {name: float(value) for name, value in found.items()},
            trainer.global_step,
            device_name,
            benchmark.fingerprint(),
            tuple(first.losses),
            *_items(found, run.metrics if run.keeps_items else ()),
        )

    return work


def _items(found: dict[str, float], owed: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, "np.ndarray"]]:
    from common.evaluation.means import Mean

    means = tuple(name for name, value in found.items() if isinstance(value, Mean))
    items = {name: found[name].items.numpy() for name in owed if name in means}
    for name, values in items.items():
        if not math.isfinite(values.sum()):
            raise UserError(f"the metric '{name}' is not finite for every unit")
    return means, items


def _check(run: Run) -> Callable[[], Findings]:
    module, _, name = run.check.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the check '{run.check}' cannot be imported: {error}") from None
    random.seed(run.seed)
    if "torch" in sys.modules:  # a check need not use it
        import torch
        from lightning import seed_everything

        _same_state(torch)
        seed_everything(run.seed, workers=True, verbose=False)

    def work() -> Findings:
        found = function(run.seed)
        if not isinstance(found, dict):
            return Findings("property", {"deviation": float(found)}, 0, "cpu", "", (), (), {})
        parts = {name: float(value) for name, value in found.items()}
        if not parts:
            raise UserError(f"the check '{run.check}' returned no deviation")
        named = {f"deviation/{name}": value for name, value in parts.items()}
        return Findings("property", {"deviation": max(parts.values(), key=abs)} | named, 0, "cpu", "", (), (), {})

    return work


def _same_state(torch: Any) -> None:
    """What an earlier run of this worker may have changed."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(True)


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
