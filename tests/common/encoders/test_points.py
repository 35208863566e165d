"""Points that are trained themselves."""

import lightning as L
import pytest
import torch
from torch import Tensor

from common.batches import Graph, Items
from common.encoders.points import FreePoints, degrees, neighbour_means
from common.errors import UserError
from common.losses import symmetric_info_nce
from common.scores import Scores
from common.training.method import Method
from data.benchmarks.worlds.block_model import BlockModel
from data.benchmarks.worlds.paired_points import PairedPoints


class GraphPoints(Method):
    """InfoNCE over the edges of a graph."""

    def __init__(self, *, count: int, dim: int = 10, **optimization) -> None:
        super().__init__(**optimization)
        self.points = FreePoints(count, dim)

    def training_step(self, batch: Graph, batch_idx: int) -> Tensor:
        rows = self.points()
        means, _ = neighbour_means(rows, batch.edges)
        return self.log_loss((Scores(rows, rows).logsumexp(dim=1) - (rows * means).sum(dim=1)).mean())

    def embed_graph(self, graph: Graph) -> Tensor:
        return self.points()


class TwoSides(Method):
    def __init__(self, *, count: int, **optimization) -> None:
        super().__init__(**optimization)
        self.sides = torch.nn.ModuleList([FreePoints(count, 8, offset=2.0) for _ in range(2)])

    def training_step(self, batch: Items, batch_idx: int) -> Tensor:
        return self.log_loss(symmetric_info_nce(*(side(batch.ids) for side in self.sides), temperature=0.1))

    def embed_items(self, ids: Tensor, side: int) -> Tensor:
        return self.sides[side](ids)


def trained(method: Method, benchmark, steps: int) -> dict[str, float]:
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = L.Trainer(max_steps=steps, accelerator="cpu", use_distributed_sampler=False, limit_val_batches=0, **quiet)
    trainer.fit(method, datamodule=benchmark)
    return benchmark.evaluate(method)


def test_blocks_are_found_by_points_of_a_graph() -> None:
    L.seed_everything(0)
    blocks = BlockModel(sizes_of_blocks=[60, 60, 60], within=0.3, between=0.05, graph="drawn", batch_size=180)
    found = trained(GraphPoints(count=180, lr=0.05), blocks, 80)
    assert found["kmeans/ari"] > 0.9 and found["cosine/minority_twin"] > -0.3


def test_two_cones_are_drawn_together() -> None:
    L.seed_everything(0)
    pairs, method = PairedPoints(count=64), TwoSides(count=64, lr=0.05)
    before = pairs.evaluate(method)
    after = trained(method, pairs, 100)
    assert before["mrr/gallery32"] < 0.4 and after["mrr/gallery32"] > 0.8 and after["alignment"] < 0.2


def test_an_offset_is_a_cone() -> None:
    torch.manual_seed(0)
    for offset in (0.0, 1.0, 3.0):
        rows = FreePoints(400, 64, offset=offset)()
        assert torch.dist(rows.norm(dim=1), torch.ones(400)) < 1e-4
        pairs = ((rows.sum(0).square().sum() - 400) / (400 * 399)).item()
        assert pairs == pytest.approx(offset**2 / (1 + offset**2), abs=0.03)


def test_items_are_taken_by_number() -> None:
    points = FreePoints(5, 2)
    index = torch.tensor([3, 0, 3])
    assert points(index).equal(points()[index])
    points(index)[0].sum().backward()
    assert points.rows.grad[[0, 1, 2, 4]].abs().sum() == 0
    with pytest.raises(UserError, match=r"item 7: model.count is 5; it must be that of the data"):
        points(torch.tensor([7]))
    with pytest.raises(UserError, match=r"model.count is 0; it must be at least 1"):
        FreePoints(0, 2)
    assert points.all_of(5).equal(points())
    for other in (4, 6):
        with pytest.raises(UserError, match=f"model.count is 5; it must be that of the data, {other}"):
            points.all_of(other)


def test_degrees_are_counts() -> None:
    assert degrees(torch.tensor([0, 2, 2, 0, 2]), 4).tolist() == [2, 0, 3, 0]


def test_means_of_neighbours_are_those_of_a_loop() -> None:
    rows, edges = torch.randn(4, 3), torch.tensor([[0, 0, 1, 3], [1, 2, 0, 3]])
    means, counts = neighbour_means(rows, edges)
    assert counts.tolist() == [2, 1, 0, 1]
    expected = torch.stack([(rows[1] + rows[2]) / 2, rows[0], torch.zeros(3), rows[3]])
    assert torch.dist(means, expected) < 1e-6
