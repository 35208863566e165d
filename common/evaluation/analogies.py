"""Analogies of words as parallel lines: king - man beside queen - woman."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, finite
from common.random import uniform

SHUFFLES = 50
_TRIES = 20_000


def shuffled(pairs: Tensor, shuffles: int, *key: int) -> Tensor:
    """Orders of a relation's second words in which no shuffled pair is a true one, int64 (shuffles, m).

    Args:
        pairs: (first word, second word) of a relation, int64 (m, 2).
        shuffles: how many.
        key: what they are drawn by.

    Raises:
        UserError: among 20,000 orders there are none, as where most pairs have one second word.
    """
    found: list[Tensor] = []
    count, m = 0, len(pairs)
    for start in range(0, _TRIES, 1000):
        order = uniform(torch.arange(start, start + 1000), m, *key).argsort(dim=1, stable=True)
        free = (pairs[order, 1] != pairs[:, 1]).all(dim=1)
        found.append(order[free])
        count += int(free.sum())
        if count >= shuffles:
            return torch.cat(found)[:shuffles]
    raise UserError(f"a relation of {m} pairs has no {shuffles} orders in which no pair is a true one")


def pairing_consistency(rows: Tensor, pairs: Tensor, orders: Tensor) -> Mean:
    """How surely two offsets of true pairs are nearer in direction than two of shuffled pairs (Fournier et al. 2020).

    The area under the ROC curve by which cosines cos(b_i - a_i, b_j - a_j) of true pairs i < j are told from those of
    a shuffle, the mean over the shuffles: 0.5 if offsets say nothing, 1 if true pairs are parallel. Ties count half.

    Args:
        rows: of every word, (words, d), as they are: an offset depends on their lengths.
        pairs: (first, second) of one relation, int64 (m, 2), at least 2.
        orders: of the second words, see `shuffled`, int64 (s, m).

    Returns:
        The mean over the pairs: of pair i, the share by which its cosines with the others win.

    Raises:
        UserError: a row is not finite.
    """
    rows = finite("word vectors", rows).double()
    m = len(pairs)
    first, second = torch.triu_indices(m, m, offset=1)

    def cosines(ends: Tensor) -> Tensor:
        unit = F.normalize(rows[ends] - rows[pairs[:, 0]], dim=-1)
        return (unit @ unit.mT)[..., first, second]

    true = cosines(pairs[:, 1])
    mixed = cosines(pairs[orders, 1]).sort(dim=1).values
    true_each = true.expand(len(orders), -1).contiguous()
    below = torch.searchsorted(mixed, true_each) + torch.searchsorted(mixed, true_each, right=True)
    won = below.double().mean(dim=0) / (2 * mixed.shape[1])
    of_pair = torch.zeros(m, dtype=torch.float64).index_add_(0, first, won).index_add_(0, second, won)
    return Mean(of_pair / (m - 1), float(won.mean()))


def mean_similarity(rows: Tensor, pairs: Tensor) -> Mean:
    """MSM: the cosine of each pair's offset with the mean direction of the relation's offsets; the mean over pairs.

    Args:
        rows, pairs: as in `pairing_consistency`.
    """
    rows = finite("word vectors", rows).double()
    unit = F.normalize(rows[pairs[:, 1]] - rows[pairs[:, 0]], dim=1)
    return Mean(unit @ F.normalize(unit.mean(dim=0), dim=0))


def three_cos_add(rows: Tensor, pairs: Tensor, demonstrations: int = 5) -> tuple[Mean, Mean]:
    """b_i - a_i + a_j asks all words for b_j, by cosines of unit vectors; the three that are given do not answer.

    Args:
        rows, pairs: as in `pairing_consistency`.
        demonstrations: other pairs i by which each pair j is asked for: the ones behind it, at most all.

    Returns:
        The mean over pairs of the reciprocal rank, words as near as the answer before it, and of how often it is first.
    """
    unit = F.normalize(embeddings("word vectors", rows), dim=1)
    best, firsts = [], []
    for step in range(1, 1 + min(demonstrations, len(pairs) - 1)):
        shown = pairs.roll(-step, dims=0)
        scores = F.normalize(unit[shown[:, 1]] - unit[shown[:, 0]] + unit[pairs[:, 0]], dim=1) @ unit.T
        own = scores.gather(1, pairs[:, 1:])
        given = torch.cat([shown, pairs[:, :1]], dim=1)
        above = (scores >= own).scatter_(1, given, False).scatter_(1, pairs[:, 1:], True)
        rank = above.sum(dim=1).double()
        best.append(rank.reciprocal())
        firsts.append((rank == 1).double())
    return Mean(torch.stack(best).mean(dim=0)), Mean(torch.stack(firsts).mean(dim=0))


def analogy_metrics(rows: Tensor, relations: list[Tensor], *key: int) -> Metrics:
    """What word vectors make of the relations, each a list of pairs (first, second), int64 (m, 2).

    Returns:
        `pcs/relation`, the mean over relations of `pairing_consistency`, and `pcs/pair`, that over pairs;
        `pcs_unit/relation` of unit vectors; `msm/pair`, of all pairs of all relations; `three_cos_add/mrr` and
        `three_cos_add/top1`, the mean over pairs.
    """
    unit = F.normalize(rows, dim=1)
    orders = [shuffled(pairs, SHUFFLES, *key, at) for at, pairs in enumerate(relations)]
    both = list(zip(relations, orders, strict=True))
    raw, scaled = ([pairing_consistency(x, pairs, order) for pairs, order in both] for x in (rows, unit))
    asked = [three_cos_add(rows, pairs) for pairs in relations]
    return {
        "pcs/relation": Mean(list(map(float, raw))),
        "pcs/pair": _together(raw),
        "pcs_unit/relation": Mean(list(map(float, scaled))),
        "msm/pair": _together([mean_similarity(rows, pairs) for pairs in relations]),
        "three_cos_add/mrr": _together([mrr for mrr, _ in asked]),
        "three_cos_add/top1": _together([top1 for _, top1 in asked]),
    }


def _together(parts: list[Mean]) -> Mean:
    return Mean(torch.cat([part.items for part in parts]))
