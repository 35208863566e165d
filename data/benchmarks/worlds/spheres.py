"""Points on a sphere, seen through a fixed random network: is the sphere found again? Generated."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.geometry import geometry_metrics
from common.evaluation.means import Mean
from common.protocols import EmbedsVectors
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut, take
from data.benchmarks.worlds.bending import bent, orthogonal_layers

LAYERS = 3
_DRAWN = 28
"""Key of which points are trained on."""
SIZES = {"train": 10_000, "val": 1000, "test": 2000}


class Spheres(Benchmark):
    """Uniform points z on a sphere; a view is x = g(z + noise, normalized) with g three random, invertible layers.

    The set-up of Zimmermann et al. (2021): positives are near each other on the sphere, negatives are uniform, and an
    encoder that minimizes InfoNCE undoes g up to a rotation. 10,000 train, 1,000 validation, 2,000 test points.

    Args:
        batch_size, seed: as in `Benchmark`; the noise of the views is drawn anew in each epoch.
        dimension: of the space around the sphere, and of x.
        noise: standard deviation, in each coordinate, of what parts the two views.
        train_size: points to train on; of less than all, the seed draws which.
    """

    name = "spheres"
    primary = "linear_r2/latents"
    added_later: ClassVar[dict[str, Any]] = {"train_size": SIZES["train"]}

    def __init__(
        self,
        batch_size: int = 256,
        seed: int = 0,
        data_root: str | None = None,
        dimension: int = 10,
        noise: float = 0.1,
        train_size: int = SIZES["train"],
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if dimension < 2:
            raise UserError(f"data.dimension is {dimension}; it must be at least 2")
        if noise < 0:
            raise UserError(f"data.noise is {noise}; it must be at least 0")
        if not 1 <= train_size <= SIZES["train"]:
            raise UserError(f"data.train_size is {train_size}; it must be from 1 to {SIZES['train']}")
        self.dimension = dimension
        self.noise = noise
        self.train_size = train_size
        self.splits: dict[str, LabelledVectors] = {}

    def build(self) -> None:
        d = self.dimension
        self.layers = orthogonal_layers(d, LAYERS, 23)
        ids = torch.arange(sum(SIZES.values()))
        latents = F.normalize(normal(ids, d, 24), dim=1)
        none = torch.full_like(ids, -1)
        self.splits = cut(LabelledVectors(latents, none, ids), SIZES)
        self.train = self.splits["train"]
        if self.train_size < SIZES["train"]:
            order = uniform(self.train.ids, 1, _DRAWN, self.seed).flatten().argsort(stable=True)
            self.train = take(self.train, order[: self.train_size].sort().values)

    def observe(self, latents: Tensor) -> Tensor:
        """x = g(z), of the same shape."""
        self.setup()
        return bent(latents, self.layers)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.train).loader(self.batch_size, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes the two views of a training batch; the names of splits that are scored pass through."""
        if not isinstance(batch, LabelledVectors):
            return batch
        epoch = self.moment()
        return batch._replace(views=self.observe(self.moved(batch.views, batch.ids, self.seed, epoch)))

    def moved(self, latents: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Two noisy copies of each point, back on the sphere, shape (2, n, d)."""
        noise = [normal(ids, self.dimension, 25, *key, view) * self.noise for view in range(2)]
        return F.normalize(latents + torch.stack(noise), dim=2)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """How well an affine map, fitted on 2,000 points of the train split, reads the latent points off the embedding.

        Returns:
            `linear_r2/latents`, over all coordinates together, with an item for each point; `alignment/views` and
            `uniformity/views` (lower is better) and `effective_rank/views` of two views of each point of the split.

        Raises:
            UserError: the module does not offer `embed_vectors`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsVectors)
        latents, ids = self.splits[split].views, self.splits[split].ids
        fitted = self.splits["train"].views[:2000]
        train, test = (self._embedded(module, z).double() for z in (fitted, latents))
        train, test = (torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1) for rows in (train, test))
        # The minimum-norm solution, so that a collapsed embedding is no singular system.
        weights = torch.linalg.lstsq(train, fitted.double(), driver="gelsd").solution
        error = (test @ weights - latents).square().sum(dim=1)
        spread = (latents - latents.mean(dim=0)).double().square().sum(dim=1).mean()
        first, second = (self._embedded(module, z) for z in self.moved(latents, ids, 0, 0))
        geometry = geometry_metrics(first, second)
        return {
            "linear_r2/latents": Mean(1 - error / spread),
            **{f"{name}/views": geometry[name] for name in ("alignment", "uniformity", "effective_rank")},
        }

    def _embedded(self, module: nn.Module, latents: Tensor) -> Tensor:
        return embed_dataset(module.embed_vectors, self.observe(latents), 1000, module).cpu()

    def floor(self) -> dict[str, Metrics]:
        """A random direction for each input, and the input as it is."""
        return {"chance": self.evaluate(_Chance()), "input": self.evaluate(_Input())}

    def example(self) -> str:
        self.setup()
        z = self.splits["train"].views[:2]
        rows = zip(z.tolist(), self.observe(z).tolist(), strict=True)
        return "\n".join(f"{[round(v, 2) for v in a]} -> {[round(v, 2) for v in b]}" for a, b in rows)

    def fingerprint(self) -> str:
        """Of what fixes the points exactly on every machine: the draws and the arguments, not the rounding."""
        self.setup()
        settings = (1, self.dimension, self.noise, LAYERS, SIZES)
        # Multiples of 2^-24, from which the normal numbers are computed.
        draws = [uniform(torch.arange(3), self.dimension, key).tolist() for key in (23, 24, 25)]
        chosen = [self.train.ids] if self.train_size < SIZES["train"] else []
        return digest((settings, draws), *chosen)


class _Input(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return x


class _Chance(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return normal((x[:, 0] * 1e6).long(), 16, 26)
