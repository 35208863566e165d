"""Which negatives are hard, and which are likely no negatives at all; both tile by tile, on the embeddings' device."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_all, check_ids, check_number
from common.distributed import Exchange, gather, rank, shards, world_size
from common.errors import UserError
from common.evaluation.scoring import embeddings
from common.losses.precision import at_least_float32
from common.scores import Scores
from common.tiled.tiles import full_precision


class FalseNegatives(NamedTuple):
    """The pairs too alike to be negatives, as a lazy matrix for `Scores.exclude`; never a query with its own key.

    Made by `by_positive` or `by_features`. They leave the denominator and never become positives.

    Attributes:
        query: (m, d).
        key: (n, d), of all processes.
        threshold: similarity above which a pair is left out, one for each query, (m,).
        own: column of each query's own key, (m,).
    """

    query: Tensor
    key: Tensor
    threshold: Tensor
    own: Tensor

    @classmethod
    def by_positive(
        cls, query: Tensor, key: Tensor, ratio: float = 0.95, *, exchange: Exchange = Exchange.GATHER
    ) -> Self:
        """Leaves out keys that score above `ratio` times the query's own positive.

        The threshold moves with the positive's score: "positive-aware" mining of NV-Retriever (Moreira et al. 2024).

        Args:
            query: (m, d), our rows, normalized for the cosine.
            key: (m, d), key i the positive of query i.
            ratio: share of the positive's score.
            exchange: as in the loss that takes the result.
        """
        query, key = at_least_float32(query.detach()), at_least_float32(key.detach())
        return cls._over(query, key, ratio * (query * key).sum(1), exchange)

    @classmethod
    def by_features(cls, features: Tensor, threshold: float, *, exchange: Exchange = Exchange.GATHER) -> Self:
        """Leaves out pairs whose features, such as embeddings of their captions by a frozen encoder, are alike.

        TMR (Petrovich et al. 2023) takes 0.6: it states 0.8 on similarities rescaled to [0, 1], a cosine of 0.6.

        Args:
            features: (m, e), our rows, normalized for the cosine; row i describes both query i and key i.
            threshold: on the dot product.
            exchange: as in the loss that takes the result.
        """
        features = at_least_float32(features.detach())
        return cls._over(features, features, features.new_full((len(features),), threshold), exchange)

    @classmethod
    def by_threshold(
        cls, query: Tensor, key: Tensor, threshold: Tensor, *, exchange: Exchange = Exchange.GATHER
    ) -> Self:
        """Leaves out keys that score above a threshold of the query's own.

        Args:
            query: (m, d), our rows.
            key: (m, d), key i the query's own, such as its positive or the query itself.
            threshold: (m,).
            exchange: as in the loss that takes the result.
        """
        query, key = at_least_float32(query.detach()), at_least_float32(key.detach())
        return cls._over(query, key, threshold.detach(), exchange)

    @classmethod
    def _over(cls, query: Tensor, key: Tensor, threshold: Tensor, exchange: Exchange) -> Self:
        layout = shards(len(key), key.device, exchange)
        own = layout.start + torch.arange(len(query), device=query.device)
        return cls(query, gather(key, layout), threshold, own)

    def tile(self, rows: slice, columns: slice) -> Tensor:
        """Boolean block of the matrix."""
        with full_precision(self.query.device):
            alike = self.query[rows] @ self.key[columns].T > self.threshold[rows, None]
        column = torch.arange(columns.start, columns.stop, device=alike.device)
        return alike & (self.own[rows, None] != column)


def negative_weights(logits: Tensor, positives: Tensor) -> Tensor:
    """The softmax of each row over what is no positive, as one draws hard negatives by (ALBEF, Li et al. 2021).

    Their code sets the positives to zero after the softmax. That is the same distribution, but where a positive is far
    ahead it leaves a row without any weight.

    Args:
        logits: (m, n), similarities over their temperature; zeros make all negatives as likely as each other.
        positives: boolean (m, n), what is never drawn.

    Returns:
        float64 (m, n), rows sum to 1.
    """
    return logits.double().masked_fill(positives, -torch.inf).softmax(dim=1)


@torch.no_grad()
def draw_hard_negatives(logits: Tensor, positives: Tensor, draws: Tensor) -> Tensor:
    """One negative for each query, likelier the more the model takes it for the positive.

    Draws that belong to a sample (see `common.random.uniform`) give the same negatives on any number of processes.

    Args:
        logits, positives: as in `negative_weights`.
        draws: uniform in [0, 1), (m,).

    Returns:
        Columns, int64 (m,); any where the logits are NaN, which is for the loss to tell.

    Raises:
        UserError: a query has positives alone.
    """
    message = "a batch of pairs that all mean the same has no negatives to draw; raise data.batch_size"
    check_all(~positives.all(dim=1), message)
    cumulated = negative_weights(logits, positives).cumsum(dim=1)
    # The first column beyond the draw: one without weight of its own never is. Where a logit is NaN there is none.
    drawn = torch.searchsorted(cumulated, draws.double()[:, None] * cumulated[:, -1:], right=True).squeeze(1)
    return drawn.clamp(max=logits.shape[1] - 1)


@torch.no_grad()
def hardest_of_labels(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The least similar other row of the same label and the most similar row of another, for each row, by cosine.

    Where there is none, a row stands for itself. Of equal ones the first counts.

    Args:
        rows: (n, d).
        labels: int (n,).

    Returns:
        Positions, both int64 (n,).
    """
    unit, own = F.normalize(at_least_float32(rows), dim=1), torch.arange(len(rows), device=rows.device)
    with full_precision(rows.device):
        cosine = unit @ unit.T
    same = labels[:, None] == labels
    positive = cosine.masked_fill(~same, torch.inf).fill_diagonal_(torch.inf).min(dim=1)
    negative = cosine.masked_fill(same, -torch.inf).max(dim=1)
    pairs = (positive, negative)
    first, second = (torch.where(value.isfinite(), place, own) for value, place in pairs)
    return first, second


@torch.no_grad()
def mine_hard_negatives(
    query: Tensor,
    key: Tensor,
    k: int,
    *,
    positive: Tensor | None = None,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    max_ratio: float | None = None,
    chunk: int = 512,
) -> tuple[Tensor, Tensor]:
    """The `k` most similar keys of each query that are not its positives.

    Under torch.distributed every process passes all queries and keys, mines for a share of the queries, and gets the
    whole result.

    Args:
        query: (n, d), normalized for the cosine.
        key: (m, d).
        k: negatives a query, at most m.
        positive: column of each query's positive, (n,); by default its own position.
        query_ids, key_ids: (n,) and (m,); keys with the query's id are no negatives. By default only the positive.
        max_ratio: leaves out keys that score above this share of the positive's score, which are likely positives too;
            llama-embed-nemotron (2025) takes 0.95, after NV-Retriever.
        chunk: queries scored at a time; memory is O(chunk m).

    Returns:
        Columns (n, k), hardest first, and their similarities (n, k). Where a query has fewer than k negatives the rest
        is -1, with similarity -inf.

    Raises:
        UserError: `k` is out of range, ids are given on one side only or do not fit, positives are missing where they
            are needed, or embeddings are not finite.
    """
    query, key = embeddings("query", query), embeddings("key", key)
    check_number("max_ratio", max_ratio)
    if not 1 <= k <= len(key):
        raise UserError(f"k is {k}; there are {len(key)} keys to mine from")
    if (query_ids is None) != (key_ids is None):
        raise UserError("query_ids and key_ids go together; only one of them was given")
    if positive is None:
        if len(query) != len(key) and (max_ratio is not None or query_ids is None):
            raise UserError(f"{len(query)} queries and {len(key)} keys do not pair up by position; pass positive=")
        positive = torch.arange(len(query), device=query.device)
    check_ids("positive", positive, len(query))
    if query_ids is not None and key_ids is not None:
        check_ids("query_ids", query_ids, len(query))
        check_ids("key_ids", key_ids, len(key))
    share = slice(*(len(query) * r // world_size() for r in (rank(), rank() + 1)))
    query, positive = query[share], positive[share]
    scores = Scores(query, key)
    if query_ids is not None and key_ids is not None:
        scores = scores.exclude(scores.equal(query_ids[share], key_ids))
    else:
        scores = scores.exclude(scores.equal(positive, torch.arange(len(key), device=key.device)))
    column = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    similarity = torch.empty(len(query), k, device=query.device)
    for start in range(0, len(query), chunk):
        rows = slice(start, min(start + chunk, len(query)))
        block = scores.tile(rows, slice(0, len(key)))
        if max_ratio is not None:
            limit = max_ratio * (query[rows] * key[positive[rows]]).sum(1, keepdim=True)
            block = block.masked_fill(block > limit, -torch.inf)
        similarity[rows], column[rows] = block.topk(k, dim=1)
    column[similarity.isneginf()] = -1
    layout = shards(len(column), column.device)
    return gather(column, layout), gather(similarity, layout)
