"""Pairs of texts with a similarity that people, or a dictionary, gave them."""

from typing import NamedTuple

import torch
from torch import Tensor

from common.evaluation.means import Mean
from common.evaluation.scoring import scoring
from common.evaluation.similarity import spearman


class RatedPairs(NamedTuple):
    """Texts, and the similarity of pairs of them."""

    texts: list[str]
    first: Tensor
    """Position in `texts` of each pair's first, int64, shape (p,)."""
    second: Tensor
    human: Tensor
    """Mean rating, shape (p,)."""


@scoring()
def rank_agreement(rows: Tensor, pairs: RatedPairs) -> Mean:
    """Spearman's correlation of the cosines with the ratings, over the pairs.

    Args:
        rows: an embedding of each text, of unit length, shape (n, d).
    """
    first, second = (rows[at.to(rows.device)] for at in (pairs.first, pairs.second))
    return spearman((first * second).sum(dim=1).cpu(), pairs.human)


def pairs_of(rated: list[tuple[str, str, float]]) -> RatedPairs:
    """Each text once, in alphabetical order, and the pairs as they come."""
    texts = sorted({text for first, second, _ in rated for text in (first, second)})
    at = {text: position for position, text in enumerate(texts)}
    first, second = torch.tensor([[at[a], at[b]] for a, b, _ in rated]).T
    return RatedPairs(texts, first, second, torch.tensor([rating for _, _, rating in rated]))
