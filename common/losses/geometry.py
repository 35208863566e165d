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


def _sharp_pairs(n: int, seed: int) -> Example:
    return Example({name: 1.5 * side for name, side in _squared(n, seed).embeddings.items()}, shared={"t": 3.0})


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
    check_number("t", t, above=0)
    check_embeddings(x=x)
    n = shards(len(x), x.device, exchange).total
    x = centred(at_least_float32(x), n, exchange)
    if n < 2:
        raise UserError(f"uniformity of {n} vector: expected at least 2")
    return _log_mean_potential(x, x, t, exchange)


def _log_mean_potential(x: Tensor, y: Tensor, t: float, exchange: Exchange) -> Tensor:
    """log mean_{i != j} exp(-t ||x_i - y_j||^2) over the rows of all processes."""
    # -t d^2 is itself an inner product, of vectors longer by two, and so the log-sum-exp is that of a score matrix.
    energies = [-t * side.square().sum(dim=1, keepdim=True) for side in (x, y)]
    one = torch.ones_like(energies[0])
    query = torch.cat([2 * t * x, energies[0], one], dim=1)
    scores = Scores(query, torch.cat([y, one, energies[1]], dim=1), exchange=exchange)
    total = scores.exclude(scores.own()).logsumexp(dim=1).logsumexp(dim=0)
    if exchange != Exchange.LOCAL:
        total = logsumexp_over_processes(total)
    n = scores.layout.total
    return total - math.log(n * (n - 1))


@loss(_squared, _sharp_pairs, needs=Needs.KEYS)
def cross_uniformity(x: Tensor, y: Tensor, *, t: float = 2.0, exchange: Exchange = Exchange.GATHER) -> Tensor:
    """Keeps each vector of one side away from all of the other side but its partner.

    log mean_{i != j} exp(-t ||x_i - y_j||^2), at most 0 and in nats: `uniformity` between two sides. It says nothing of
    how a side lies in itself, and two sides that are far apart have a low value as well as two that are spread evenly.

    Args:
        x, y: (n, d), two views or modalities; row i of both is a positive pair.
        t: sharpness of the potential.
        exchange: which vectors meet on several processes.

    Returns:
        The value over all pairs of all processes (with LOCAL, of this process).

    Raises:
        UserError: fewer than two pairs, t is not above 0, or the shapes differ.

    Relations: the negatives of `symmetric_info_nce`, at t = 1 / (2 temperature) and with the logarithm outside.

    Source: Fahim et al. 2024, L_xuniform.
    """
    check_number("t", t, above=0)
    check_embeddings(same_rows=True, x=x, y=y)
    n = shards(len(x), x.device, exchange).total
    if n < 2:
        raise UserError(f"cross-uniformity of {n} pair: expected at least 2")
    compared(x, y)
    x, y = centred(torch.cat([at_least_float32(x), at_least_float32(y)]), 2 * n, exchange).chunk(2)
    return _log_mean_potential(x, y, t, exchange)
