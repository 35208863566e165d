"""Agreement of predictions with targets, where other samples that are alike count as positives too."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from common.checks import check_embeddings, check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores
from common.tiled.tiles import Matrix

LEAST = 1e-4
"""Probabilities below it count as this much in "entropy"."""

Form = Literal["distance", "entropy"]


def squared_distance(cosine: Tensor) -> Tensor:
    return 2 - 2 * cosine


def surprise(probability: Tensor) -> Tensor:
    return -probability.clamp(min=LEAST).log()


def _example(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    pairs = {"query": examples.unit(draw, n), "key": examples.unit(draw, n)}
    # Unit vectors in so few dimensions are seldom 0.8 alike; on the diagonal cosines may be below 0.
    return Example(pairs, shared={"weight": 0.3, "above": 0.4})


def _apart(n: int, seed: int) -> Example:
    """Dissimilar pairs count too."""
    example = _example(n, seed)
    return Example(example.embeddings, shared={**example.shared, "below": -0.2})


def _entropy(n: int, seed: int) -> Example:
    example = _apart(n, seed)
    return Example(example.embeddings, shared={**example.shared, "form": "entropy"})


@loss(_example, _apart, _entropy, needs=Needs.KEYS)
def self_labelled(
    query: Tensor,
    key: Tensor,
    *,
    weight: float,
    above: float = 0.8,
    below: float | None = None,
    form: Form = "distance",
    among: Matrix | Tensor | None = None,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Draws each query to its own key and, with a weight, to all other keys that it is close to already.

    mean_i [ f(s_ii) + w sum_{j != i} ( 1[s_ij >= above] f(s_ij) + 1[s_ij <= below] g(s_ij) ) ], s_ij the cosine, f the
    cost of a pair that belongs together and g of one that does not. The sum is not divided by the number of its terms,
    and its conditions are constants.

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d), normalized; usually from a teacher and without a gradient. Key i is the positive of query i.
        weight: w of the pairs of different samples.
        above: cosine from which such a pair counts as a positive; above 1 none does.
        below: cosine up to which it counts as a negative; none does without it.
        form: "distance": f = 2 - 2 s, g = -f. "entropy": the cosine is taken for the probability that the pair belongs
            together, f = -log s and g = -log(1 - s), with s and 1 - s at least 1e-4.
        among: bool (n, all keys), or such a matrix by its tiles; no other pair of different samples is a positive.
        exchange: which keys a query meets on several processes.

    Returns:
        The mean over the queries of all processes.

    Raises:
        UserError: another form, a weight below 0, a threshold that is not finite, or shapes that do not fit.

    Relations: with weight 0 and form "distance" it is `alignment`, the loss of BYOL for one direction.

    Source: Garg and Jain 2022, eq. 6, 7 and 11 to 13; the sign before the weight in eq. 12 is a misprint.
    """
    check_embeddings(same_rows=True, query=query, key=key)
    check_number("weight", weight, least=0)
    check_number("above", above)
    check_number("below", below)
    if form not in ("distance", "entropy"):
        raise UserError(f"form '{form}': expected 'distance' or 'entropy'")
    scores = Scores(query, key, exchange=exchange)
    own, different = scores.diagonal(), scores.exclude(scores.own())
    attraction = squared_distance if form == "distance" else surprise
    terms = different.sum(partial(_selected, attraction, above), pairs=() if among is None else (among,))
    if below is not None:
        repulsion = _minus_squared_distance if form == "distance" else _surprise_at_absence
        terms = terms + different.sum(lambda s: torch.where(s <= below, repulsion(s), 0.0))
    return global_mean(attraction(own) + weight * terms)


def _selected(cost: Callable[[Tensor], Tensor], above: float, cosine: Tensor, *among: Tensor) -> Tensor:
    selected = cosine >= above
    return torch.where(selected & among[0] if among else selected, cost(cosine), 0.0)


def _minus_squared_distance(cosine: Tensor) -> Tensor:
    return -squared_distance(cosine)


def _surprise_at_absence(cosine: Tensor) -> Tensor:
    return surprise(1 - cosine)
