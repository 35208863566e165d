"""A class, a subclass and a shortcut, each a direction in many dimensions: which of them is learnt? Generated."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.batches import LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import average, both
from common.evaluation.probe import linear_probe_accuracy
from common.protocols import EmbedsVectors
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut, take

DRAWS, DRAWN = 10, 8
"""Probes whose mean is taken, and the vectors that each is fitted on: one of each combination of signs."""
SIZES = {"train": 400, "val": 400, "test": 2000, "probe": DRAWS * DRAWN}
FEATURES = ("class", "subclass", "shortcut")


class Features(Benchmark):
    """x = y v1 + s v2 + shortcut r v3 + noise, with signs y, s, r: 400 train, 400 validation, 2,000 test vectors.

    The linear data model of Xue et al. (2023): there are more dimensions than train vectors, so minimizers of one loss
    differ on fresh noise. A method may use the class y. All three signs stay in both views of a vector; what differs
    between the views is a part of the noise. A probe is fitted on 8 vectors of its own, one for each combination of
    signs, so that it too sees fresh noise and finds in many dimensions only what an embedding has brought out.

    Args:
        batch_size, seed: as in `Benchmark`; the noise of the views is drawn anew in each epoch.
        dimension: of x.
        shortcut: strength of the direction that has nothing to do with the class; 0 leaves it out.
        noise: length of the noise of a vector, in units of y's strength.
        augmentation: length of what is added anew in each view.
        train_size: vectors to train on, drawn by the seed from the 400, as many of each combination of signs.
        told: what a batch's `labels` say: the "class", or the "cell", 0 to 3, of class and subclass.

    Raises:
        UserError: an argument is out of range.
    """

    name = "features"
    primary = "probe_linear_4shot/subclass"

    def __init__(
        self,
        batch_size: int = 200,
        seed: int = 0,
        data_root: str | None = None,
        dimension: int = 2000,
        shortcut: float = 2.0,
        noise: float = 15.0,
        augmentation: float = 15.0,
        train_size: int = 400,
        told: Literal["class", "cell"] = "class",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if dimension < len(FEATURES):
            raise UserError(f"data.dimension is {dimension}; it must be at least {len(FEATURES)}")
        for key, value in (("shortcut", shortcut), ("noise", noise), ("augmentation", augmentation)):
            if value < 0:
                raise UserError(f"data.{key} is {value}; it must be at least 0")
        if not 0 < train_size <= SIZES["train"] or train_size % DRAWN:
            raise UserError(f"data.train_size is {train_size}; it must be a multiple of {DRAWN}, at most 400")
        if told not in ("class", "cell"):
            raise UserError(f"data.told is {told!r}; it must be 'class' or 'cell'")
        self.train_size = train_size
        self.told = told
        self.dimension = dimension
        self.shortcut = shortcut
        self.noise = noise
        self.augmentation = augmentation
        self.splits: dict[str, LabelledVectors] = {}

    def build(self) -> None:
        ids = torch.arange(sum(SIZES.values()))
        # Orthonormal directions that no coordinate axis gives away.
        self.directions = torch.linalg.qr(normal(torch.arange(self.dimension), 3, 27).double()).Q.T.float()
        # Every combination of the three signs is as common in each split: a class mean tells nothing of the subclass.
        self.signs = 2 * (ids[:, None] >> torch.arange(3) & 1) - 1
        strength = torch.tensor([1.0, 1.0, self.shortcut])
        noise = normal(ids, self.dimension, 29) * self.noise / self.dimension**0.5
        x = (self.signs * strength) @ self.directions + noise
        self.splits = cut(LabelledVectors(x, (self.signs[:, 0] > 0).long(), ids), SIZES)
        self.train = self._drawn(self.splits["train"])

    def _drawn(self, train: LabelledVectors) -> LabelledVectors:
        combination = train.ids % DRAWN
        order = uniform(train.ids, 1, self.seed, 40).flatten().argsort(stable=True)
        parts = [order[combination[order] == one][: self.train_size // DRAWN] for one in range(DRAWN)]
        drawn = take(train, torch.cat(parts).sort().values)
        return drawn if self.told == "class" else drawn._replace(labels=drawn.ids % 4)

    def sizes(self) -> dict[str, int]:
        return {"train": self.train_size, "val": SIZES["val"], "test": SIZES["test"]}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.train).loader(self.batch_size, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes the two views of a training batch; the names of splits that are scored pass through."""
        if not isinstance(batch, LabelledVectors):
            return batch
        epoch = self.moment()
        scale = self.augmentation / self.dimension**0.5
        noise = [normal(batch.ids, self.dimension, 30, self.seed, epoch, view) * scale for view in range(2)]
        return batch._replace(views=batch.views + torch.stack(noise))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """A linear probe on 4 vectors of either sign, the mean of 10 fixed draws; chance is 0.5.

        Returns:
            the accuracies `probe_linear_4shot/class`, `/subclass` and `/shortcut`, and `/class_and_subclass`, the mean
            of the first two.

        Raises:
            UserError: the module does not offer `embed_vectors`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsVectors)
        fitted, scored = self.splits["probe"], self.splits[split]
        train, test = (embed_dataset(embeds.embed_vectors, part.views, 1000, module).cpu() for part in (fitted, scored))
        metrics = {}
        for column, name in enumerate(FEATURES):
            right = (self.signs[:, column] > 0).long()
            known, asked = right[fitted.ids], right[scored.ids]
            # Any 8 vectors in a row have each combination of signs once.
            draws = zip(train.split(DRAWN), known.split(DRAWN), strict=True)
            found = [linear_probe_accuracy(*draw, test, asked) for draw in draws]
            metrics[f"probe_linear_4shot/{name}"] = average(found)
        mean = both(*(metrics[f"probe_linear_4shot/{name}"] for name in ("class", "subclass")))
        return metrics | {"probe_linear_4shot/class_and_subclass": mean}

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the vectors as they are."""
        raw = self.evaluate(_Input())
        return {"chance": dict.fromkeys(raw, 0.5), "input": raw}

    def example(self) -> str:
        self.setup()
        x = self.splits["train"].views[:4] @ self.directions.T
        rows = zip(self.signs[:4].tolist(), x.tolist(), strict=True)
        return "\n".join(f"signs {signs}: along v1, v2, v3 {[round(v, 2) for v in found]}" for signs, found in rows)

    def fingerprint(self) -> str:
        """Of what fixes the vectors exactly on every machine: the signs, the draws and the arguments."""
        self.setup()
        settings = (2, SIZES, self.dimension, self.shortcut, self.noise, self.augmentation, self.signs.tolist())
        return digest(settings if self.train_size == SIZES["train"] else (*settings, self.train_size))


class _Input(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return x
