"""Alignment and uniformity: what the contrastive loss optimises in the limit of many negatives, as two losses."""

import math

import torch
from torch import Tensor

from common.checks import check_embeddings, check_number
from common.distributed import Exchange, global_mean, logsumexp_over_processes, shards
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32, centred
from common.losses.registry import Example, Needs, loss
from common.observing import compared
from common.scores import Scores


def _squared(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    return Example({"x": examples.unit(draw, n), "y": examples.unit(draw, n)})


def _distance(n: int, seed: int) -> Example:
    return Example(_squared(n, seed).embeddings, shared={"alpha": 1.0})


@loss(_squared, _distance, needs=Needs.NOTHING)
def alignment(x: Tensor, y: Tensor, *, alpha: float = 2.0) -> Tensor:
    """Draws the two views of a sample together.

    mean_i ||x_i - y_i||^alpha, 0 where every pair coincides.

    Args:
        x, y: (n, d), normalized by the caller; row i of both is a positive pair.
        alpha: exponent of the Euclidean distance, above 0. Below 1 the slope at a pair that coincides is infinite, and
            0 is taken for it.

    Returns:
        The mean over the pairs of all processes.

    Raises:
        UserError: alpha is not above 0, or the shapes differ.

    Relations: with alpha 2 and unit vectors it is 2 - 2 cos, so `info_nce` holds it as its positive term. Alone it is
    least when all vectors are one; `uniformity` is the counterweight.

    Source: Wang and Isola 2020, section 4.1.1.
    """
    check_number("alpha", alpha, above=0)
    check_embeddings(same_rows=True, x=x, y=y)
    compared(x, y)
    distance = torch.linalg.vector_norm(at_least_float32(x) - at_least_float32(y), dim=1)
    if alpha < 1:
        apart = distance > 0
        return global_mean(torch.where(apart, torch.where(apart, distance, 1.0) ** alpha, 0.0))
    return global_mean(distance**alpha)


def _cloud(n: int, seed: int) -> Example:
    return Example({"x": examples.unit(examples.generator(seed), n)})


def _sharp(n: int, seed: int) -> Example:
    return Example({"x": 1.5 * _cloud(n, seed).embeddings["x"]}, shared={"t": 3.0})


@loss(_cloud, _sharp, needs=Needs.KEYS)
def uniformity(x: Tensor, *, t: float = 2.0, exchange: Exchange = Exchange.GATHER) -> Tensor:
    """Spreads vectors over the sphere.

    log mean_{i != j} exp(-t ||x_i - x_j||^2): the log of the mean over pairs, so at most 0, and in nats. It is the
    logarithm of the mean Gaussian potential, least for the uniform distribution.

    Args:
        x: (n, d), one view only: with both views in it, positive pairs would repel each other.
        t: sharpness of the potential.
        exchange: which vectors meet on several processes.

    Returns:
        The value over all pairs of all processes (with LOCAL, of this process).

    Raises:
        UserError: fewer than two vectors, or t is not above 0.

    Relations: InfoNCE averages a logarithm for each anchor instead; by Jensen it is the smaller.

    Source: Wang and Isola 2020, section 4.1.2.
    """
    # -t d^2 is itself an inner product, of vectors longer by two, and so the log-sum-exp is that of a score matrix.
    check_number("t", t, above=0)
    check_embeddings(x=x)
    layout = shards(len(x), x.device, exchange)
    x = centred(at_least_float32(x), layout.total, exchange)
    energy = -t * x.square().sum(dim=1, keepdim=True)
    one = torch.ones_like(energy)
    query = torch.cat([2 * t * x, energy, one], dim=1)
    scores = Scores(query, torch.cat([x, one, energy], dim=1), exchange=exchange)
    n = layout.total
    if n < 2:
        raise UserError(f"uniformity of {n} vector: expected at least 2")
    total = scores.exclude(scores.own()).logsumexp(dim=1).logsumexp(dim=0)
    if exchange != Exchange.LOCAL:
        total = logsumexp_over_processes(total)
    return total - math.log(n * (n - 1))
