"""Mined batches survive an interruption, and the map of confusions shows what it should."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from data.benchmarks.bases.cross_view import Pairs
from data.benchmarks.mini.tiles import Tiles
from harness.recipes import catalog, recipe
from papers.geo.sample4geo.confusions import draw, main


class Met(L.Callback):
    """Which pairs met at each step."""

    def __init__(self) -> None:
        self.ids: list[list[int]] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch, batch_idx: int) -> None:
        self.ids.append(batch.ids.tolist())


def run(folder: Path, checkpoint: Path | None = None) -> tuple[list[list[int]], dict[str, float], L.LightningModule]:
    """Three epochs of three batches, mined anew behind each."""
    config = dict(recipe.load_recipe(catalog.find("sample4geo"), "mini.yaml").data)
    refresh = {"class_path": "common.sampling.neighbors.RefreshNeighbors", "init_args": {"every_n_epochs": 1}}
    trainer = {"max_epochs": 3, "limit_train_batches": 3, "enable_checkpointing": True, "callbacks": [refresh]}
    small = {"model": {"init_args": {"width": 4}}, "trainer": trainer}
    met, save = Met(), ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer, module, tiles = recipe.build(recipe.with_seed(recipe.merge(config, small), 0), callbacks=(met, save))
    trainer.fit(module, tiles, ckpt_path=checkpoint, weights_only=True)
    return met.ids, tiles.evaluate(module, "val"), module


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the training tiles: mining them nine times should take no minute."""
    whole = Tiles.load
    monkeypatch.setattr(Tiles, "load", lambda self: Pairs(*(part[::3] for part in whole(self))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("few_places")
def test_a_run_resumed_in_the_middle_of_an_epoch_ends_the_same(tmp_path: Path) -> None:
    batches, metrics, module = run(tmp_path / "whole")
    resumed, again, same = run(tmp_path / "resumed", tmp_path / "whole" / "step=5.ckpt")
    assert resumed == batches[5:]
    assert again == metrics
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), same.parameters(), strict=True))
    # Mined batches are others than those of the map.
    assert batches[3:6] != batches[:3]

    main([str(tmp_path / "whole" / "step=9.ckpt"), str(tmp_path / "map.svg"), "--split", "val"])
    assert "<svg" in (tmp_path / "map.svg").read_text()[:2000]


def test_a_line_for_every_place_that_is_confused() -> None:
    tiles = Tiles(query="relief", reference="shaded")
    tiles.setup()
    first: Tensor = torch.arange(1179)
    first[:7] = 1000
    figure = draw(first, tiles, "val")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert len(figure.axes[0].lines) - len(dots) == 7
    assert len(dots[0].get_xdata()) == 1172
