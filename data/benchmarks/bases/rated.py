"""Pairs of texts with a similarity that people, or a dictionary, gave them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.evaluation.geometry import uniformity_metric
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


def rated_metrics(rows: Tensor, pairs: RatedPairs, name: str) -> Metrics:
    """What cosines of graded pairs tell.

    Args:
        rows: an embedding of each text, of unit length, shape (n, d).
        name: of the data, which stands behind each metric.

    Returns:
        `spearman`; `alignment` of the pairs of the highest grade and `uniformity` of all texts, for both of which less
        is better.
    """
    nearest = pairs.human == pairs.human.max()
    first, second = (rows[at[nearest].to(rows.device)] for at in (pairs.first, pairs.second))
    return {
        f"spearman/{name}": rank_agreement(rows, pairs),
        f"alignment/{name}": Mean((first - second).square().sum(dim=1)),
        f"uniformity/{name}": uniformity_metric(rows),
    }


def graded_examples(pairs: RatedPairs, grades: Sequence[str]) -> str:
    """A pair of each grade, a line each, the highest first; `grades` says what they mean, from 0 up."""
    at = {int(grade): place for place, grade in enumerate(pairs.human.tolist())}
    sides = {grade: [pairs.texts[side[place]] for side in (pairs.first, pairs.second)] for grade, place in at.items()}
    return "\n".join(f"{grade}, {grades[grade]}: {' | '.join(sides[grade])}" for grade in sorted(sides, reverse=True))


def pairs_of(rated: list[tuple[str, str, float]]) -> RatedPairs:
    """Each text once, in alphabetical order, and the pairs as they come."""
    texts = sorted({text for first, second, _ in rated for text in (first, second)})
    at = {text: position for position, text in enumerate(texts)}
    first, second = torch.tensor([[at[a], at[b]] for a, b, _ in rated]).T
    return RatedPairs(texts, first, second, torch.tensor([rating for _, _, rating in rated]))
