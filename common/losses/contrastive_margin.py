"""The contrastive loss of metric learning: positives are drawn together, negatives pushed apart as far as a margin."""

import torch
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, sum_over_processes
from common.losses import examples
from common.losses.precision import at_least_float32
from common.losses.registry import Example, Needs, loss
from common.scores import Scores

_LEAST = 1e-12
"""Squared distances up to this are 0: below it float32 knows no distance of unit vectors, and its gradient is none."""


def _classes(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(example.embeddings, example.samples, {"margin": 0.9})


def _long_vectors(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example({"embeddings": 1.5 * example.embeddings["embeddings"]}, example.samples, {"margin": 1.7})


@loss(_classes, _long_vectors, needs=Needs.KEYS)
def contrastive_margin(
    embeddings: Tensor, labels: Tensor, *, margin: float, exchange: Exchange = Exchange.GATHER
) -> Tensor:
    """Draws each pair of one label together and pushes each pair of two labels at least a margin apart.

    With the Euclidean distance d, the mean of d over the positive pairs whose d is not 0, and the mean of [m - d]_+
    over the negative pairs that are nearer than m: a pair that costs nothing does not count below the line.

    Args:
        embeddings: (n, d), normalized or not.
        labels: int (n,); no sample is a pair with itself.
        margin: m, in units of d, at least 0.
        exchange: which embeddings an anchor meets on several processes.

    Returns:
        The sum of the two means over the pairs of all processes; 0 where no pair costs anything.

    Raises:
        UserError: a margin below 0, or labels that do not fit the embeddings.

    Relations: `triplet` compares the two kinds of pairs of an anchor, here each stands for itself. Since costless
    negatives are left out, the weight of those that remain grows in training.

    Source: Hadsell et al. 2006, in the form of pytorch-metric-learning's ContrastiveLoss with its default reduction,
    where distances are not squared.
    """
    check_number("margin", margin, least=0)
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    embeddings = at_least_float32(embeddings)
    scores = Scores(embeddings, embeddings, exchange=exchange)
    others, squares = scores.exclude(scores.own()), embeddings.square().sum(dim=1)
    same = scores.equal(labels, labels)

    def cost(s: Tensor, one: Tensor, other: Tensor, positive: Tensor) -> Tensor:
        distance = (one + other - 2 * s).clamp(min=_LEAST).sqrt()
        distance = torch.where(distance > _LEAST**0.5, distance, 0.0)
        return torch.where(positive, distance, torch.relu(margin - distance))

    def mean(kind: bool) -> Tensor:
        def of_kind(s: Tensor, one: Tensor, other: Tensor, positive: Tensor) -> Tensor:
            return torch.where(positive == kind, cost(s, one, other, positive), 0.0)

        def counted(s: Tensor, one: Tensor, other: Tensor, positive: Tensor) -> Tensor:
            return (of_kind(s, one, other, positive) > 0).to(s.dtype)

        total = others.sum(of_kind, rows=(squares,), keys=(squares,), pairs=(same,)).sum()
        with torch.no_grad():
            count = others.sum(counted, rows=(squares,), keys=(squares,), pairs=(same,)).sum()
        return sum_over_processes(total) / sum_over_processes(count).clamp(min=1)

    return mean(True) + mean(False)
