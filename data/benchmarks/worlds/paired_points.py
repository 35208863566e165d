"""Pairs of points that may lie anywhere: what a contrastive loss does to two sides without any encoder. Generated."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Items
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.geometry import geometry_metrics, linear_separability
from common.evaluation.means import both
from common.evaluation.retrieval import best_ranks, rank_metrics
from common.protocols import EmbedsItems
from common.random import normal
from common.sampling.batches import ResumableLoader
from common.table import Table

LEAST = 10


class PairedPoints(Benchmark):
    """`count` items with a vector on each of two sides, which a method learns; an item's two vectors are a pair.

    The idealized set-up of Fahim et al. (2024): whatever gap is left between the sides is not of pictures and texts,
    and not of encoders. All items are trained on, as nothing else is known of them; the scored splits are disjoint
    halves. There is nothing of the data that depends on the seed but the order of the items.

    Args:
        batch_size: items in a step.
        seed: as in `Benchmark`.
        count: number of items.

    Raises:
        UserError: there are fewer than 10 items.
    """

    name = "paired_points"
    primary = "modality_gap"

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, count: int = 1000) -> None:
        super().__init__(batch_size, seed, data_root)
        if count < LEAST:
            raise UserError(f"data.count is {count}; it must be at least {LEAST}")
        self.count = count
        self.splits: dict[str, Items] = {}

    def build(self) -> None:
        ids = torch.arange(self.count)
        self.splits = {"train": Items(ids), "val": Items(ids[0::2]), "test": Items(ids[1::2])}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Where the two sides of the split's items lie.

        Returns:
            `modality_gap`, `alignment` and `uniformity`, the lower the better, and `effective_rank`, see
            `geometry_metrics`; `linear_separability` of the sides; `mrr/galleryN`, the mean reciprocal rank of an item
            among all of the other side, both ways.

        Raises:
            UserError: the module does not offer `embed_items`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsItems)
        device = next((parameter.device for parameter in module.parameters()), None)
        ids = self.splits[split].ids.to(device)
        with evaluating(module):
            x, y = (F.normalize(embeds.embed_items(ids, side).float().cpu(), dim=1) for side in (0, 1))
        ways = [rank_metrics(best_ranks(*pair))["mrr"] for pair in ((x, y), (y, x))]
        return {
            **geometry_metrics(x, y),
            "linear_separability": linear_separability(x, y),
            f"mrr/gallery{len(ids)}": both(*ways),
        }

    def floor(self) -> dict[str, Metrics]:
        """Random directions for each vector, and one random direction for both vectors of an item."""
        return {"chance": self.evaluate(_Random(apart=True)), "the same": self.evaluate(_Random(apart=False))}

    def example(self) -> str:
        return "item 0 on side 0 <-> item 0 on side 1"

    def fingerprint(self) -> str:
        return digest((1, self.count))


class _Random(nn.Module):
    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.apart = apart

    def embed_items(self, ids: Tensor, side: int) -> Tensor:
        return normal(ids, 16, 33, side if self.apart else 0)
