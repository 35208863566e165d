"""What a batch costs to read and augment, beside the step of a mini recipe that it feeds."""

import statistics
import time
from functools import partial
from typing import Any

import lightning as L

from bench.measure import Run, Task
from common.experiments import yaml_lines
from harness.recipes import catalog, recipe

WARM, STEPS = 3, 12


class Stopwatch(L.Callback):
    """CPU seconds between the steps and within them, by step."""

    def __init__(self) -> None:
        self.loading: list[float] = []
        self.step: list[float] = []
        self.last: float | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        now = time.process_time()
        if self.last is not None:
            self.loading.append(now - self.last)
        self.last = now

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.process_time()
        self.step.append(now - self.last)
        self.last = now


def measured(what: str, slug: str, file: str, size: int) -> Run:
    """The median of `what`, "loading" or "step", while the recipe trains."""
    (path,) = catalog.REPOSITORY.glob(f"papers/*/{slug}/{file}")
    config = yaml_lines.load(path, catalog.REPOSITORY).data
    config = recipe.with_seed(recipe.merge(config, {"data": {"init_args": {"batch_size": size}}}), 0)
    config["trainer"] = {"max_steps": WARM + STEPS, "accelerator": "cpu"}
    watch = Stopwatch()
    trainer, module, benchmark = recipe.build(config, callbacks=(watch,))
    benchmark.prepare_data()
    benchmark.setup("fit")

    def run() -> float:
        trainer.fit(module, benchmark)
        return statistics.median(getattr(watch, what)[WARM:])

    return run


def task(name: str, slug: str, file: str, size: int) -> Task:
    title = f"A batch of {name}, beside the step of {slug} ({file}) that it feeds"
    return Task(
        f"loading_{name}",
        title,
        (size,),
        {
            "the step": partial(measured, "step", slug, file),
            "loading its batch": partial(measured, "loading", slug, file),
        },
        unit="batch",
        warm=0,
    )


TASKS = (
    task("mnist5k", "supcon", "mini.yaml", 256),
    task("fashion", "supcon", "mini_fashion.yaml", 256),
    task("scenes", "clip", "mini.yaml", 64),
    task("verses", "simcse", "mini.yaml", 64),
    task("spoken", "data2vec_aqc", "mini.yaml", 64),
)
