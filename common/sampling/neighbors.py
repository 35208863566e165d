"""Batches of look-alikes: neighbours on the map first, then in the embedding space as it is learnt."""

from collections.abc import Iterable, Sequence

import lightning as L
import numpy as np
import torch
from sklearn.neighbors import BallTree
from torch import Tensor

from common.checks import check_ids, check_number
from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler


class NeighborSampler(GlobalBatchSampler):
    """Fills batches with a random sample and its neighbours, then the next one, each sample once an epoch.

    With neighbours on the map this is Sample4Geo's GPS sampling, with `mine_hard_negatives` its dynamic similarity
    sampling (Deuser et al. 2023). Of a sample's ranked neighbours it takes the `nearest` first and `farther` more drawn
    from the rest: the nearest alone hold more false negatives. What does not fill a batch at the end is left out.

    Samples of one group, such as two panoramas of one place, never meet. So that every epoch has as many batches, with
    groups of up to g samples it is g - 1 batches short of n / batch_size: what is left can be too much alike.

    Args:
        neighbors: ranked neighbours of each sample, nearest first, int64 of shape (n, range); -1 is no neighbour. They
            may be replaced between epochs by assignment, as `RefreshNeighbors` does.
        batch_size: samples in one global batch.
        seed: fixes, together with the epoch and the neighbours, every batch.
        nearest: neighbours taken from the front of the list.
        farther: neighbours drawn from behind them.
        groups: group of each sample, int64 of shape (n,); by default each is alone.

    Raises:
        UserError: no batch is sure to be filled, neighbours below 0 are asked for, groups do not fit the samples, or
            (on iteration) the neighbours have another shape.
    """

    def __init__(
        self,
        neighbors: Tensor,
        batch_size: int,
        seed: int = 0,
        *,
        nearest: int = 32,
        farther: int = 32,
        groups: Tensor | None = None,
    ) -> None:
        super().__init__(len(neighbors), batch_size, seed)
        check_number("nearest", nearest, least=0)
        check_number("farther", farther, least=0)
        if groups is not None:
            check_ids("groups", groups, len(neighbors))
        self.neighbors = neighbors
        self.nearest = nearest
        self.farther = farther
        self.groups = np.arange(self.size) if groups is None else groups.unique(return_inverse=True)[1].cpu().numpy()
        # When nothing fits any more, all that is left is of the groups in the unfinished batch, fewer than batch_size.
        self.batches = self.size // batch_size - int(np.bincount(self.groups).max()) + 1
        if self.batches < 1:
            raise UserError(f"data.batch_size is {batch_size}; {self.size} samples in groups may not fill a batch")

    def __len__(self) -> int:
        return self.batches

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        neighbors = self.neighbors.cpu().numpy()
        if neighbors.ndim != 2 or len(neighbors) != self.size:
            raise UserError(f"neighbors has shape {neighbors.shape}; expected ({self.size}, range)")
        used = np.zeros(self.size, dtype=bool)
        present = np.zeros(self.size, dtype=bool)
        batch: list[int] = []
        waiting, made = rng.permutation(self.size), 0
        while True:
            # An anchor whose group is in the batch already waits for the next round.
            held = []
            for anchor in waiting:
                if used[anchor]:
                    continue
                if present[self.groups[anchor]]:
                    held.append(anchor)
                    continue
                rest = neighbors[anchor, self.nearest :]
                farther = rng.choice(rest, min(self.farther, len(rest)), replace=False)
                for sample in (anchor, *neighbors[anchor, : self.nearest], *farther):
                    if sample < 0 or used[sample] or present[self.groups[sample]]:
                        continue
                    used[sample] = present[self.groups[sample]] = True
                    batch.append(sample)
                    if len(batch) == self.batch_size:
                        yield batch
                        made += 1
                        if made == self.batches:
                            return
                        # The rest of the neighbours stay free, for another batch.
                        batch = []
                        present[:] = False
                        break
            waiting = held


def geographic_neighbors(coordinates: Tensor, k: int) -> Tensor:
    """The `k` nearest other places of each place on the sphere, nearest first, int64 of shape (n, k).

    Args:
        coordinates: latitude and longitude in degrees, shape (n, 2).
        k: at most n - 1.

    Raises:
        UserError: `k` is out of range, or a coordinate is not finite.
    """
    if not coordinates.isfinite().all():
        raise UserError("coordinates hold NaN or infinite values; they have no neighbours")
    if not 1 <= k < len(coordinates):
        raise UserError(f"k is {k}; {len(coordinates)} places have 1 to {len(coordinates) - 1} neighbours each")
    # The haversine distance wants radians; degrees would distort the ranking without an error.
    radians = np.radians(coordinates.double().cpu().numpy())
    found = BallTree(radians, metric="haversine").query(radians, k + 1, return_distance=False)
    # At one and the same place another sample may come first, or push the sample itself off the list.
    itself = found == np.arange(len(found))[:, None]
    itself[~itself.any(axis=1), -1] = True
    return torch.from_numpy(found[~itself].reshape(len(found), k))


class RefreshNeighbors(L.Callback):
    """Replaces the neighbours of the training loader's `NeighborSampler` at the end of every k-th epoch.

    Asks the data module for `neighbors(module) -> (n, range)`, which embeds the training split without augmentation and
    calls `mine_hard_negatives`. The neighbours are part of the checkpoint, so a resumed run meets the same batches.

    Args:
        every_n_epochs: Sample4Geo takes 4.
    """

    def __init__(self, every_n_epochs: int = 4) -> None:
        if every_n_epochs < 1:
            raise UserError(f"every_n_epochs is {every_n_epochs}; it must be at least 1")
        self.every_n_epochs = every_n_epochs
        self.neighbors: Tensor | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.neighbors is not None:
            self._sampler(trainer).neighbors = self.neighbors

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.neighbors = trainer.datamodule.neighbors(pl_module).cpu()
            self._sampler(trainer).neighbors = self.neighbors

    def state_dict(self) -> dict[str, Tensor | None]:
        return {"neighbors": self.neighbors}

    def load_state_dict(self, state_dict: dict[str, Tensor | None]) -> None:
        self.neighbors = state_dict["neighbors"]

    def _sampler(self, trainer: L.Trainer) -> NeighborSampler:
        loader = trainer.train_dataloader
        for sampler in (loader.batch_sampler, loader.sampler):
            if isinstance(sampler, NeighborSampler):
                return sampler
        raise UserError("RefreshNeighbors needs a training loader over a NeighborSampler; this one has none")
