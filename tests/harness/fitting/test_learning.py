"""How `papers fit` watches that embeddings learn, on trainings that fail on purpose and on one that does not."""

import csv
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F

from common.losses import alignment, info_nce
from common.losses.temperature import LearnableTemperature
from common.observing import compared, observing
from common.training.method import Method
from harness.fitting.learning import Compared, Learning, geometry, negatives

EVERY = 10


class Vectors(NamedTuple):
    x: Tensor
    y: Tensor
    labels: Tensor
    ids: Tensor


class Pairs(Method):
    """Two views of vectors through one linear map."""

    def __init__(self, *, fault: str = "", **optimization) -> None:
        super().__init__(**optimization)
        self.fault = fault
        self.network = nn.Linear(16, 8)
        self.temperature = LearnableTemperature(0.0101 if fault == "temperature" else 0.1)

    def training_step(self, batch: Vectors, batch_idx: int) -> Tensor:
        x, y = self.network(batch.x), self.network(batch.y)
        if self.fault == "collapse":
            return self.log_loss(alignment(x, torch.ones_like(y)))
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return self.log_loss(info_nce(x, y, temperature=self.temperature()))


class Draws(torch.utils.data.Dataset):
    def __init__(self, steps: int, fault: str) -> None:
        self.steps, self.fault = steps, fault

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Vectors:
        draw = torch.Generator().manual_seed(step)
        x, noise = torch.randn(2, 32, 16, generator=draw)
        y = noise if self.fault == "chance" else x + 0.1 * noise
        one = torch.zeros(32, dtype=torch.int64)
        return Vectors(x, y, one if self.fault == "classes" else torch.arange(32), torch.arange(32))


def trained(
    tmp_path: Path, capsys: pytest.CaptureFixture, fault: str = "", steps: int = 60, lr: float = 1e-3
) -> tuple[list[str], list[dict[str, str]]]:
    """The lines that were said, and the rows that were logged."""
    torch.manual_seed(0)
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        max_steps=steps, log_every_n_steps=EVERY, accelerator="cpu", logger=logger, callbacks=[Learning()], **quiet
    )
    trainer.fit(Pairs(fault=fault, lr=lr), torch.utils.data.DataLoader(Draws(steps, fault), batch_size=None))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("papers: step ")]
    (log,) = tmp_path.rglob("metrics.csv")
    return said, list(csv.DictReader(log.open()))


def test_what_learns_is_logged_at_the_interval_and_nothing_is_said(tmp_path, capsys) -> None:
    looks = 0

    def count(*_) -> None:
        nonlocal looks
        looks += 1

    with observing(count):
        compared(torch.ones(2, 2), torch.ones(2, 2))
    said, rows = trained(tmp_path, capsys, lr=1e-2)
    assert said == []
    assert looks == 1, "an observer that is gone still looks"
    assert len(rows) == 60 // EVERY
    wanted = {"positive", "hardest_negative", "found", "alignment", "uniformity", "effective_rank", "spread"}
    wanted |= {"temperature", "gradient_norm", "same_id", "same_class"}
    assert {f"learning/{name}" for name in wanted} <= rows[0].keys()


@pytest.mark.parametrize(
    ("fault", "steps", "lr", "line"),
    [
        ("collapse", 100, 0.03, "the embeddings of a batch have collapsed"),
        ("chance", 140, 1e-4, "a sample's partner is nearer than"),
        ("temperature", 60, 0.1, "model.temperature stands at its lower bound, 0.01"),
    ],
)
def test_a_training_that_fails_says_so_in_one_line_once(tmp_path, capsys, fault, steps, lr, line) -> None:
    said, _ = trained(tmp_path, capsys, fault, steps, lr)
    assert [line in one for one in said].count(True) == 1, said


def test_negatives_of_the_own_class_are_counted(tmp_path, capsys) -> None:
    _, rows = trained(tmp_path, capsys, "classes")
    assert {row["learning/same_class"] for row in rows} == {"1.0"}
    assert {row["learning/same_id"] for row in rows} == {"0.0"}


def test_geometry_is_that_of_plain_loops() -> None:
    draw = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 7, 5, generator=draw)
    found = geometry(Compared(query, key, 4.0))
    q, k = (side.double().numpy() for side in (query, key))
    q, k = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (q, k))
    cosine = q @ k.T
    others = [[cosine[i, j] for j in range(7) if j != i] for i in range(7)]
    values = np.linalg.svd(q - q.mean(0), compute_uv=False)
    share = values / values.sum()
    apart = [np.exp(-2 * np.sum((q[i] - q[j]) ** 2)) for i in range(7) for j in range(7) if i != j]
    wanted = {
        "positive": np.mean(np.diag(cosine)),
        "hardest_negative": np.mean([max(row) for row in others]),
        "found": np.mean([cosine[i, i] > one for i in range(7) for one in others[i]]),
        "alignment": np.mean(np.sum((q - k) ** 2, axis=1)),
        "uniformity": np.log(np.mean(apart)),
        "effective_rank": np.exp(-np.sum(share * np.log(share))),
        "spread": np.sqrt(np.mean((q - q.mean(0)) ** 2)) * np.sqrt(5),
        "temperature": 0.25,
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, abs=1e-5)


def test_a_set_against_itself_has_no_positives_and_a_point_no_spread() -> None:
    point = torch.ones(6, 4)
    found = geometry(Compared(point, point, 1.0))
    assert "positive" not in found
    assert float(found["spread"]) == pytest.approx(0, abs=1e-6)


def test_ids_of_two_views_are_the_batches() -> None:
    batch = Vectors(torch.zeros(4, 2), torch.zeros(4, 2), torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 5, 5]))
    found = {name: float(value) for name, value in negatives(batch, 8).items()}
    assert found == pytest.approx({"same_id": 6 / 12, "same_class": 2 / 12})
    assert negatives(batch, 3) == {}
