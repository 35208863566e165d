"""Pairs of points that may lie anywhere: what a contrastive loss does to two sides without any encoder. Generated."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Items
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.geometry import geometry_metrics, linear_separability, modality_gap
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
        moments: steps after which the gap is measured on the way, 0 before the first.

    Raises:
        UserError: there are fewer than 10 items, or a moment is below 0.
    """

    name = "paired_points"
    primary = "modality_gap"
    added_later: ClassVar[dict[str, Any]] = {"moments": ()}

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        count: int = 1000,
        moments: tuple[int, ...] = (),
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if count < LEAST:
            raise UserError(f"data.count is {count}; it must be at least {LEAST}")
        if moments and min(moments) < 0:
            raise UserError(f"data.moments is {list(moments)}; each must be at least 0")
        self.count, self.moments = count, tuple(moments)
        self.splits: dict[str, Items] = {}
        self._on_the_way: dict[str, Metrics] = {"val": {}, "test": {}}

    def build(self) -> None:
        ids = torch.arange(self.count)
        self.splits = {"train": Items(ids), "val": Items(ids[0::2]), "test": Items(ids[1::2])}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Looks at the module before a step that is due; batches stay as they are."""
        if isinstance(batch, Items) and self.trainer is not None and self.trainer.training:
            self._look(self.trainer.lightning_module, self.trainer.global_step)
        return batch

    def _look(self, module: nn.Module, step: int) -> None:
        if step in self.moments:
            for split, found in self._on_the_way.items():
                sides = self._sides(module, split)
                found[f"modality_gap/step{step}"] = float(modality_gap(*sides))
                found[f"linear_separability/step{step}"] = float(linear_separability(*sides))

    def state_dict(self) -> dict[str, Any]:
        """What was measured on the way, so that a run that is resumed still has it."""
        return {"on_the_way": {split: dict(found) for split, found in self._on_the_way.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._on_the_way = {split: dict(found) for split, found in state_dict["on_the_way"].items()}

    def _sides(self, module: nn.Module, split: str) -> tuple[Tensor, Tensor]:
        """The unit vectors of a split's items on both sides, (n, d) each."""
        embeds = self.check_request(module, split, EmbedsItems)
        device = next((parameter.device for parameter in module.parameters()), None)
        ids = self.splits[split].ids.to(device)
        with evaluating(module):
            x, y = (F.normalize(embeds.embed_items(ids, side).float().cpu(), dim=1) for side in (0, 1))
        return x, y

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Where the two sides of the split's items lie.

        Returns:
            `modality_gap`, `alignment` and `uniformity`, the lower the better, and `effective_rank`, see
            `geometry_metrics`; `linear_separability` of the sides; `mrr/galleryN`, the mean reciprocal rank of an item
            among all of the other side, both ways. After a training also `modality_gap/stepK` and
            `linear_separability/stepK` of each of the `moments`.

        Raises:
            UserError: the module does not offer `embed_items`, or there is no such split.
        """
        self.setup()
        x, y = self._sides(module, split)
        if self.trainer is not None and self.trainer.lightning_module is module:
            self._look(module, self.trainer.global_step)
        ways = [rank_metrics(best_ranks(*pair))["mrr"] for pair in ((x, y), (y, x))]
        return {
            **geometry_metrics(x, y),
            "linear_separability": linear_separability(x, y),
            f"mrr/gallery{len(x)}": both(*ways),
            **self._on_the_way[split],
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
