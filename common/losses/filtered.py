"""InfoNCE that takes no pair for a negative whose two captions say nearly the same."""

from typing import NamedTuple

import torch
from torch import Tensor

from common.checks import check_embeddings, check_number
from common.distributed import Exchange, gather, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores
from common.tiled.tiles import full_precision


class Alike(NamedTuple):
    """True where the meanings of two different samples are more similar than a threshold."""

    meaning: Tensor
    """Of our samples, (n, e)."""
    others: Tensor
    """Of all samples, (m, e)."""
    start: int
    """Global position of our first sample."""
    threshold: float

    @torch.no_grad()
    def tile(self, rows: slice, columns: slice) -> Tensor:
        with full_precision(self.meaning.device):
            alike = self.meaning[rows] @ self.others[columns].T > self.threshold
        ours = torch.arange(self.start + rows.start, self.start + rows.stop, device=alike.device)
        return alike & (ours[:, None] != torch.arange(columns.start, columns.stop, device=alike.device))


def _captioned(n: int, seed: int) -> Example:
    """Samples of which some mean the same and others nearly so."""
    draw = examples.generator(seed + 2)
    example = examples.query_key(n, seed)
    meaning = examples.unit(draw, max(2, n // 2))[torch.randint(max(2, n // 2), (n,), generator=draw)]
    return Example(example.embeddings, {"meaning": meaning}, {**example.shared, "threshold": 0.4})


@loss(_captioned, needs=Needs.KEYS)
def filtered_info_nce(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor,
    meaning: Tensor,
    threshold: float,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes each query find its key and each key its query among those that do not mean the same.

    (L_rows + L_columns) / 2 as in `symmetric_info_nce`, where pair (i, j) with i != j is no candidate either way if
    meaning_i meaning_j > threshold. It is left out of the sum, not made a positive.

    Args:
        query, key: (n, d), normalized by the caller; key i and query i are a pair.
        temperature: number or 0-d tensor (learnable).
        meaning: (n, e), normalized; what each pair says, such as its caption under a frozen sentence encoder.
        threshold: on the dot product, that is on the cosine: a similarity s of TMR, which is in [0, 1], is 2 s - 1.
        exchange: which keys a query meets on several processes.

    Returns:
        The mean over the pairs of all processes.

    Raises:
        UserError: query, key and meaning differ in number, or threshold or temperature is out of range.

    Relations: `symmetric_info_nce` with `ignore_ids` leaves out pairs of equal id. A threshold of 1 or more filters
    nothing.

    Source: Petrovich et al. 2023 (TMR), section 3.3, and the released InfoNCE_with_filtering.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    check_embeddings(meaning=meaning)
    if len(meaning) != len(query):
        raise UserError(f"meaning {tuple(meaning.shape)}: expected ({len(query)}, e), one vector a pair")
    check_number("threshold", threshold)
    meaning = at_least_float32(meaning)
    scores = Scores(query, key, scale=inverse(temperature), exchange=exchange)
    alike = Alike(meaning, gather(meaning, scores.layout), scores.layout.start, threshold)
    row, column = scores.exclude(alike).logsumexps()
    return global_mean(row + column - 2 * scores.diagonal()) / 2
