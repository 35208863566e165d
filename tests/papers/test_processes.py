"""Two processes with the same global batch train along the losses of one; how each is trained stands on its card."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.recipes import catalog, recipe
from tests.papers.steps import losses

PAPERS = Path(sys.executable).with_name("papers")


def trains(slug: str) -> bool:
    """Whether the paper's mini recipe takes a step: there are baselines that need none."""
    return recipe.load_recipe(catalog.find(slug), "mini.yaml").data["trainer"].get("max_steps") != 0


@pytest.mark.parametrize("slug", filter(trains, sorted(catalog.paths())))
def test_two_processes_follow_the_curve_of_one(slug: str) -> None:
    given = catalog.find(slug).processes
    assert given is not None, "the card does not say under `processes` how this is to be tested"
    overrides = {"model": given.model, "data": given.data, "trainer": given.trainer}
    one, two = losses(1, slug, overrides), losses(2, slug, overrides)
    assert len(one) == 4 and one[0] != pytest.approx(one[3], rel=1e-3)
    assert two == pytest.approx(one, rel=given.tolerance)


def test_the_command_line_starts_two_processes(tmp_path: Path) -> None:
    """Once through `papers fit` and the processes that Lightning starts, as a user would."""
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", str(tmp_path)]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.enable_checkpointing", "false"]
    steps = ["--trainer.max_steps", "4", "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "0"]
    several = ["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    command = [PAPERS, "fit", "supcon", *logger, *quiet, *steps, *several, "--data.batch_size", "64"]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr[-2000:]
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        found = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert found == pytest.approx(losses(1, "supcon", {"data": {"init_args": {"batch_size": 64}}}), rel=3e-4)
