"""A class behind three groups of nuisances, of which views redraw some: what an augmentation decides. Generated."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.batches import LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.concentration import concentration
from common.evaluation.embed import embed_dataset
from common.evaluation.geometry import geometry_metrics
from common.evaluation.knn import knn_accuracy
from common.protocols import EmbedsVectors
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut, take
from data.benchmarks.worlds.bending import bent, orthogonal_layers

CLASSES, CONTENT, GROUP, GROUPS, LAYERS = 10, 16, 8, 3, 3
DIMENSION = CONTENT + GROUPS * GROUP
SIZES = {"train": 10_000, "val": 2000, "test": 2000}
WITHIN, NUISANCE = 1.2, 2.5
"""Standard deviations in each coordinate: of the content around its class's prototype, and of the nuisances."""


class Groups(Benchmark):
    """x = g(content, three nuisances): 8,000 train vectors of 10,000 drawn, 2,000 validation, 2,000 test, ten classes.

    The content, 16 numbers, lies around the prototype of its class; a nuisance is 8 numbers that have nothing to do
    with it; g is three random, invertible layers, as in `Spheres`. A view draws some nuisances anew before g, so how
    near an augmentation brings two samples is known and not estimated: it is the distance of their contents and of the
    nuisances that are kept (Huang et al. 2023). The embedding is asked for the class.

    Args:
        batch_size, seed: as in `Benchmark`; views are drawn anew in each epoch.
        redrawn: the nuisances that a view draws anew, of 1, 2 and 3.
        jitter: standard deviation of what a view adds to each number of the content.
        train_size: vectors to train on, drawn by the seed from the 10,000.

    Raises:
        UserError: an argument is out of range.
    """

    name = "groups"
    primary = "knn20_cosine/top1"

    def __init__(
        self,
        batch_size: int = 256,
        seed: int = 0,
        data_root: str | None = None,
        redrawn: Sequence[int] = (1, 2, 3),
        jitter: float = 0.0,
        train_size: int = 8000,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if len(set(redrawn)) < len(redrawn) or not set(redrawn) <= set(range(1, GROUPS + 1)):
            raise UserError(f"data.redrawn is {list(redrawn)}; it must be some of 1, 2 and 3, each once")
        if jitter < 0:
            raise UserError(f"data.jitter is {jitter}; it must be at least 0")
        if not 1 <= train_size <= SIZES["train"]:
            raise UserError(f"data.train_size is {train_size}; it must be from 1 to {SIZES['train']:,}")
        self.redrawn = tuple(sorted(redrawn))
        self.jitter = jitter
        self.train_size = train_size
        self.splits: dict[str, LabelledVectors] = {}

    def build(self) -> None:
        self.layers = orthogonal_layers(DIMENSION, LAYERS, 34)
        ids = torch.arange(sum(SIZES.values()))
        labels = ids % CLASSES
        drawn = normal(ids, DIMENSION, 35)
        prototypes = normal(torch.arange(CLASSES), CONTENT, 36)
        content = prototypes[labels] + WITHIN * drawn[:, :CONTENT]
        latents = torch.cat([content, NUISANCE * drawn[:, CONTENT:]], dim=1)
        self.splits = cut(LabelledVectors(latents, labels, ids), SIZES)
        chosen = uniform(self.splits["train"].ids, 1, self.seed, 37).flatten().argsort(stable=True)[: self.train_size]
        self.train = take(self.splits["train"], chosen.sort().values)

    def observe(self, latents: Tensor) -> Tensor:
        """x = g(latents), of the same shape."""
        self.setup()
        return bent(latents, self.layers)

    def sizes(self) -> dict[str, int]:
        return SIZES | {"train": self.train_size}

    def train_dataloader(self) -> ResumableLoader:
        """Batches whose labels are hidden: an augmentation is all that a method is told."""
        self.setup()
        return Table(self.train._replace(labels=torch.full_like(self.train.labels, -1))).loader(
            self.batch_size, self.seed
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes the two views of a training batch; the names of splits that are scored pass through."""
        if not isinstance(batch, LabelledVectors):
            return batch
        epoch = self.moment()
        return batch._replace(views=self.observe(self.augmented(batch.views, batch.ids, self.seed, epoch)))

    def augmented(self, latents: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Two views of each, before g, shape (2, n, d)."""
        noise = torch.stack([normal(ids, DIMENSION, 38, *key, view) for view in range(2)])
        views = latents.expand_as(noise).clone()
        views[:, :, :CONTENT] += self.jitter * noise[:, :, :CONTENT]
        for group in self.redrawn:
            part = self.part(group)
            views[:, :, part] = NUISANCE * noise[:, :, part]
        return views

    @staticmethod
    def part(group: int) -> slice:
        """The coordinates of a nuisance, 1 to 3."""
        start = CONTENT + (group - 1) * GROUP
        return slice(start, start + GROUP)

    def augmented_distance(self, latents: Tensor) -> Tensor:
        """d_A of each two of them, (n, n): the Euclidean distance in the coordinates that views keep.

        The jitter is left out; as a normal number has no bound, it brings any two contents together, if rarely.
        """
        kept = [latents[:, :CONTENT]]
        kept += [latents[:, self.part(group)] for group in range(1, GROUPS + 1) if group not in self.redrawn]
        rows = torch.cat(kept, dim=1).double()
        return torch.cdist(rows, rows)

    def concentration(self, delta: float, split: str = "test") -> float:
        """sigma at delta, of the augmentation alone; see `common.evaluation.concentration.concentration`."""
        self.setup()
        part = self.splits[split]
        return concentration(self.augmented_distance(part.views), part.labels, delta)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """The class by the 20 nearest training vectors, without augmentation.

        Returns:
            `knn20_cosine/top1`; `alignment/views` and `uniformity/views` (the lower the better) and
            `effective_rank/views` of two views of each vector of the split.

        Raises:
            UserError: the module does not offer `embed_vectors`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsVectors)

        def rows(latents: Tensor) -> Tensor:
            return embed_dataset(embeds.embed_vectors, self.observe(latents), 2000, module).cpu()

        asked = self.splits[split]
        top1 = knn_accuracy(rows(self.train.views), self.train.labels, rows(asked.views), asked.labels)
        geometry = geometry_metrics(*map(rows, self.augmented(asked.views, asked.ids, 0, 0)))
        return {
            "knn20_cosine/top1": top1,
            **{f"{name}/views": geometry[name] for name in ("alignment", "uniformity", "effective_rank")},
        }

    def floor(self) -> dict[str, Metrics]:
        """A random direction for each vector, and the vectors as they are."""
        return {"chance": self.evaluate(_Chance()), "input": self.evaluate(_Input())}

    def example(self) -> str:
        self.setup()
        part = self.splits["train"]
        rows = zip(part.labels[:4].tolist(), self.observe(part.views[:4])[:, :6].tolist(), strict=True)
        return "\n".join(f"class {label}: {[round(v, 2) for v in x]} ..." for label, x in rows)

    def fingerprint(self) -> str:
        """Of what fixes vectors and views exactly on every machine: the draws and the arguments, not the rounding."""
        settings = (1, self.redrawn, self.jitter, self.train_size, WITHIN, NUISANCE, SIZES)
        draws = [uniform(torch.arange(3), DIMENSION, key).tolist() for key in (34, 35, 36, 37, 38)]
        return digest((settings, draws))


class _Input(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return x


class _Chance(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return normal((x[:, 0] * 1e6).long(), 16, 39)
