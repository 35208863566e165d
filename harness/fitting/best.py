"""The checkpoint that scored best on validation data."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from common.benchmark import Benchmark
from common.experiments.metrics import better


class Best(ModelCheckpoint):
    """`best.ckpt`: of the validations so far the best by the benchmark's primary metric, the way it is better.

    Where nothing is validated, or the metric only describes, it saves nothing; `Watch` keeps `last.ckpt` in any case.
    """

    def __init__(self, benchmark: Benchmark, folder: Path | None = None) -> None:
        metric = getattr(benchmark, "primary", None)
        way = None if metric is None else better(metric)
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=None if way is None else f"val/{metric}",
            mode="min" if way == "lower" else "max",
            save_top_k=0 if way is None else 1,
            save_on_train_epoch_end=False,
            # A training that goes on in its folder puts a better one in place of the old.
            enable_version_counter=False,
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.monitor in trainer.callback_metrics:  # another protocol may score this module
            super().on_validation_end(trainer, pl_module)
