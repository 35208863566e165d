"""Positives contrasted among themselves and negatives among themselves: the loss of CACR."""

from itertools import combinations

import torch
from torch import Tensor

from common.checks import check_floating, check_number
from common.distributed import Exchange, global_mean, shards
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32
from common.losses.registry import Example, Needs, loss
from common.scores import Scores


def _attached(n: int, seed: int) -> Example:
    views = examples.unit(examples.generator(seed), n, 3)
    return Example({"views": views}, shared={"attraction": 1.5, "repulsion": 2.0})


def _detached(n: int, seed: int) -> Example:
    example = _attached(n, seed)
    return Example(example.embeddings, shared={**example.shared, "detached": True}, gradcheck=False)


def _uniform(n: int, seed: int) -> Example:
    return Example(_attached(n, seed).embeddings, shared={"attraction": 0.0, "repulsion": 0.0})


@loss(_attached, _detached, _uniform, needs=Needs.KEYS)
def attraction_repulsion(
    views: Tensor,
    *,
    attraction: float,
    repulsion: float,
    detached: bool = False,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Pulls a view most to the farthest of its other views, and pushes it most from the nearest view of other samples.

    With the cost c(a, b) = ||a - b||^2 of unit vectors: the mean over samples and views x of sum_k pi+_k c(x, x+_k),
    pi+ the softmax of attraction * c over the other views of x's sample; less the mean over samples and pairs of views
    of sum_j pi-_j c(x, x-_j), x the earlier view and pi- the softmax of -repulsion * c over the later view of the other
    samples.

    Args:
        views: (n, v, d), normalized by the caller: row i holds the v views of sample i.
        attraction: t+ of the paper, at least 0, which weighs all positives alike.
        repulsion: t- of the paper, at least 0, which weighs all negatives alike.
        detached: the weights are constants for the gradient.
        exchange: which samples a view meets on several processes.

    Returns:
        The mean over the samples of all processes; often below 0. A single sample has positives alone.

    Raises:
        UserError: fewer than two views, or a number below 0.

    Relations: detached and with attraction 0 its gradient is 2 t times that of a decoupled InfoNCE, the log-sum-exp of
    s / t over negatives less the mean of s / t over positives, at t = 1 / (2 repulsion).

    Source: Zheng et al. 2023 (CACR), as in the released code: for small pictures the weights are differentiated, with a
    momentum encoder they are detached.
    """
    if views.ndim != 3 or views.shape[1] < 2:
        raise UserError(f"views {tuple(views.shape)}: expected (n, v, d), v at least 2")
    check_floating(views=views)
    check_number("attraction", attraction, least=0)
    check_number("repulsion", repulsion, least=0)
    views = at_least_float32(views)
    pairs = combinations(views.unbind(dim=1), 2)
    pushes = [_push(one, other, repulsion, detached, exchange) for one, other in pairs]
    return global_mean(_pull(views, attraction, detached) - torch.stack(pushes).mean(dim=0))


def _pull(views: Tensor, sharpness: float, detached: bool) -> Tensor:
    """The expected cost of a sample's positives, (n,)."""
    cost = 2 - 2 * (views[:, :, None] * views[:, None]).sum(dim=-1)
    own = torch.eye(views.shape[1], dtype=torch.bool, device=views.device)
    weight = (sharpness * cost).masked_fill(own, -torch.inf).softmax(dim=-1)
    return ((weight.detach() if detached else weight) * cost).sum(dim=-1).mean(dim=-1)


def _push(query: Tensor, key: Tensor, sharpness: float, detached: bool, exchange: Exchange) -> Tensor:
    """The expected cost of each query's negatives, (n,)."""
    total = shards(len(key), key.device, exchange).total
    if total < 2:  # there is nobody to be pushed from
        return 0.0 * query.sum(dim=1)
    scale = 2 * sharpness or 1.0
    scores = Scores(query, key, scale=scale, exchange=exchange)
    others = scores.exclude(scores.own())
    if not sharpness:
        return 2 - 2 * others.sum(lambda s: s) / (total - 1)
    norm = others.logsumexp(dim=1)
    if not detached:
        return 2 - 2 * others.sum(lambda s, z: s * torch.exp(s - z), rows=(norm,)) / scale
    # The slope of a log-sum-exp is the mean by its weights, taken for constants.
    with torch.no_grad():
        value = others.sum(lambda s, z: s * torch.exp(s - z), rows=(norm,))
    return 2 - 2 * (value + (norm - norm.detach())) / scale
