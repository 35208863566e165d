"""State that belongs to a sample and outlives its batch: a temperature, a moving average, a row of a memory bank."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.checks import check_all, check_ids, check_number
from common.distributed import gather, shards
from common.errors import UserError


class PerSample(nn.Module):
    """A row for each sample of the training set, by its id; the same rows on all processes, and in the checkpoint.

    Which ids there are, `cover` says before the training, or a checkpoint. They need not be dense: a training set is
    often a part of what the ids count.

    Args:
        shape: of one row; none for a number.
        start: of all rows; a number, or a function that makes rows (n, *shape) from ids (n,).
    """

    def __init__(self, *shape: int, start: float | Callable[[Tensor], Tensor] = 0.0) -> None:
        super().__init__()
        self.start = start
        self.register_buffer("_ids", torch.empty(0, dtype=torch.int64))
        self.register_buffer("_rows", torch.empty(0, *shape))
        self.register_buffer("_visits", torch.empty(0, dtype=torch.int64))

    @torch.no_grad()
    def cover(self, ids: Tensor) -> None:
        """Makes a row for each of these ids, on all processes alike; nothing if they are covered already.

        Raises:
            UserError: an id comes twice, there is none, or other ids are covered.
        """
        check_ids("ids", ids, len(ids))
        ids = ids.to(self._ids).sort().values
        if not len(ids) or (ids[1:] == ids[:-1]).any():
            raise UserError(f"ids of {len(ids)} samples: expected at least one, each once")
        if len(self):
            return self._check_covered(ids)
        shape = (len(ids), *self._rows.shape[1:])
        rows = self.start(ids).to(self._rows) if callable(self.start) else self._rows.new_full(shape, self.start)
        if rows.shape != shape:
            raise UserError(f"start {tuple(rows.shape)}: expected {shape}, a row for each id")
        # What `start` gives may be one row seen many times, of which a write would change all.
        self._ids, self._rows, self._visits = ids, rows.contiguous(), torch.zeros_like(ids)

    def _check_covered(self, ids: Tensor) -> None:
        if not torch.equal(ids.to(self._ids), self._ids):
            raise UserError(f"state of {len(ids)} samples: expected that of the {len(self)} ids that are covered")

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, ids: Tensor) -> Tensor:
        """Where the rows of these ids stand in `at`, (n,), from 0 to len - 1.

        Raises:
            UserError: names an id that is not covered: one of another data set would change a row that is not its own.
                A GPU, which is not waited for, fails by itself.
        """
        check_ids("ids", ids, len(ids))
        if not len(self):
            raise UserError("no sample has a row yet: call `cover` with the ids of the training set")
        places = torch.searchsorted(self._ids, ids.to(self._ids)).clamp(max=len(self) - 1)
        known = self._ids[places] == ids

        def explain() -> str:
            bounds = f"{int(self._ids[0])} to {int(self._ids[-1])}"
            return f"id {int(ids[~known][0])}: expected one of the {len(self)} that are covered, {bounds}"

        check_all(known, "an id has no row: another data set was covered", explain)
        return places

    def read(self, ids: Tensor) -> Tensor:
        """A copy of the rows of these ids, (n, *shape)."""
        return self._rows[self.places(ids)]

    @property
    def rows(self) -> Tensor:
        """A copy of all rows, in the order of their ids, (len, *shape)."""
        return self._rows.clone()

    def at(self, places: Tensor) -> Tensor:
        """A copy of the rows at these places, of any shape: (..., *shape)."""
        return self._rows[places]

    def visits(self, ids: Tensor) -> Tensor:
        """How many steps have written the rows of these ids, int64 (n,)."""
        return self._visits[self.places(ids)]

    @torch.no_grad()
    def write(self, ids: Tensor, rows: Tensor) -> None:
        """Puts rows in place of those of these ids, on all processes what any of them gives.

        An id that comes several times in the batch of all processes gets the mean of its rows.

        Args:
            ids: (n,), ours.
            rows: (n, *shape), ours.

        Raises:
            UserError: rows of another shape, or an id that is not covered.
        """
        expected = (len(ids), *self._rows.shape[1:])
        if rows.shape != expected:
            raise UserError(f"rows {tuple(rows.shape)}: expected {expected}")
        layout = shards(len(ids), ids.device)
        places = self.places(gather(ids, layout))
        rows = gather(rows.detach().to(self._rows), layout)
        # An id's rows are summed where it comes first; a GPU need not be asked how many different ones there are.
        first = (places[:, None] == places).int().argmax(dim=1)
        total = torch.zeros_like(rows).index_add(0, first, rows)
        count = rows.new_zeros(len(rows)).index_add(0, first, rows.new_ones(len(rows)))
        self._rows[places] = (total / count.clamp(min=1).view(-1, *[1] * (rows.ndim - 1)))[first]
        self._visits[places] += 1

    @torch.no_grad()
    def average(
        self, ids: Tensor, values: Tensor, weight: float, *, first: Literal["value", "start"] = "value"
    ) -> Tensor:
        """Moves rows towards values, row <- (1 - weight) row + weight value, and returns the new rows, (n, *shape).

        Args:
            ids: (n,), ours.
            values: (n, *shape), ours.
            weight: of the value, from 0 to 1.
            first: what a row that was never written becomes: the value itself, or moved from its start like others.
        """
        check_number("weight", weight, least=0, most=1)
        values = values.detach().to(self._rows)
        moved = torch.lerp(self.read(ids), values, weight)
        if first == "value":
            new = (self.visits(ids) == 0).view(-1, *[1] * (values.ndim - 1))
            moved = torch.where(new, values, moved)
        self.write(ids, moved)
        return self.read(ids)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        ids = state_dict.get(f"{prefix}_ids")
        if ids is not None and len(self):
            self._check_covered(ids)
        elif ids is not None:
            for name in ("_ids", "_rows", "_visits"):
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *others)
