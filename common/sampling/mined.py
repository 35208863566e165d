"""Hard negatives that are mined once, by what an encoder had learnt then, and kept for the rest of a training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.checks import check_number
from common.errors import UserError
from common.random import uniform
from common.sampling.mining import mine_hard_negatives


class MinedNegatives(nn.Module):
    """The `k` hardest documents of each query out of a fixed pool, by the 95% rule; in the checkpoint.

    Queries come in blocks, each with a pool of its own in which document i answers query i, such as the sentences of a
    language and their translations. Where less than `k` are below the limit, others are drawn in their place.

    Args:
        k: negatives of a query.
        max_ratio: a document above this share of the positive's score counts as another positive, see
            `mine_hard_negatives`; None for no limit.
        hard: False draws all of them from the pool, a control.

    Raises:
        UserError: `k` is below 1, or too large for the pool.
    """

    def __init__(self, k: int, max_ratio: float | None = 0.95, *, hard: bool = True) -> None:
        super().__init__()
        check_number("negatives", k, least=1)
        self.k, self.max_ratio, self.hard = k, max_ratio, hard
        self.register_buffer("columns", torch.empty(0, 0, k, dtype=torch.int64))

    @property
    def mined(self) -> bool:
        return bool(self.columns.numel())

    def mine(self, blocks: Sequence[tuple[Tensor, Tensor]], *key: int) -> None:
        """Finds the negatives of all queries; every process passes all rows.

        Args:
            blocks: (query, document), both (n, d) and normalized, with as many rows in each block.
            key: what stands in for a negative that is not there is drawn by it.
        """
        found = []
        for number, (query, document) in enumerate(blocks):
            if len(document) <= self.k:
                raise UserError(f"negatives is {self.k}; there are {len(document)} documents to mine from")
            others = self._others(len(query), len(document), number, *key).to(query.device)
            if self.hard:
                columns, _ = mine_hard_negatives(query, document, self.k, max_ratio=self.max_ratio)
                others = columns.where(columns >= 0, others)
            found.append(others)
        self.columns = torch.stack(found)

    def _others(self, queries: int, documents: int, *key: int) -> Tensor:
        """`k` documents of each query that are not its own, drawn at even distances so that none comes twice."""
        step = (uniform(torch.arange(queries), self.k, *key).sort(dim=1).values * (documents - self.k)).long()
        # Distances from 1 to documents - 1, each above the one before.
        return (torch.arange(queries)[:, None] + 1 + step + torch.arange(self.k)) % documents

    def take(self, block: Tensor, query: Tensor) -> Tensor:
        """The positions of the negatives of some queries of some blocks, both (n,), in their pools: int64 (n, k)."""
        return self.columns[block, query]

    def _load_from_state_dict(self, state: dict, prefix: str, *rest) -> None:
        # How many queries there are is known by the checkpoint alone.
        if (found := state.get(prefix + "columns")) is not None:
            self.columns = torch.empty_like(found, device=self.columns.device)
        super()._load_from_state_dict(state, prefix, *rest)
