"""Focal variants: pairs that are already easy weigh less, by (1 - p)^gamma."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import above_zero, inverse
from common.scores import Scores


def _pairs(n: int, seed: int) -> Example:
    example = examples.query_key(n, seed)
    return Example(example.embeddings, shared={**example.shared, "gamma": 1.5})


def _both_ways(n: int, seed: int) -> Example:
    example = _pairs(n, seed)
    return Example(example.embeddings, shared={**example.shared, "symmetric": True})


def _focal(log_p: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p, elementwise."""
    # Just below p = 1, which keeps the slope finite there when gamma < 1, and the exponential where an anchor meets
    # itself: its score is none of its softmax, and an infinite slope would meet the mask's zero.
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).tiny)
    # expm1 keeps the digits of 1 - p near p = 1.
    return -((-torch.expm1(log_p)) ** gamma) * log_p


@loss(_pairs, _both_ways, needs=Needs.KEYS)
def focal_info_nce(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor,
    gamma: float,
    symmetric: bool = False,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """InfoNCE that spends its gradient on the queries that do not find their key yet.

    mean_i -(1 - p_i)^gamma log p_i, with p_i the softmax probability of key i among all keys for query i. The weight is
    not detached: it is differentiated like the rest, as in the focal loss of detection.

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d); key i is the positive of query i.
        temperature: number, 0-d tensor (learnable) or, one way only, (n,), one for each query.
        gamma: at least 0, which gives InfoNCE.
        symmetric: half the sum with the same loss from key to query.
        exchange: which keys a query meets on several processes.

    Returns:
        The mean over the queries of all processes.

    Raises:
        UserError: the temperature is not above 0, gamma is below 0, or shapes do not fit.

    Relations: `info_nce` at gamma 0; `focal_sup_con` for positives by label; `focal_sigmoid` decides pair by pair.

    Source: Lin et al. 2017 (focal loss), put on the contrastive softmax as in Park and Han 2023 (text-driven soft
    masks).
    """
    check_number("gamma", gamma, least=0)
    check_embeddings(same_rows=symmetric, query=query, key=key)
    scale = inverse(temperature, rows=None if symmetric else len(query))
    scores = Scores(query, key, scale=scale, exchange=exchange)
    diagonal = scores.diagonal()
    if not symmetric:
        return global_mean(_focal(diagonal - scores.logsumexp(dim=1), gamma))
    row, column = scores.logsumexps()
    return global_mean((_focal(diagonal - row, gamma) + _focal(diagonal - column, gamma)) / 2)


def _labelled(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(example.embeddings, example.samples, {**example.shared, "gamma": 1.5})


def _over_all(n: int, seed: int) -> Example:
    example = _labelled(n, seed)
    return Example(example.embeddings, example.samples, {**example.shared, "mean_over": "all"})


@loss(_labelled, _over_all, needs=Needs.KEYS)
def focal_sup_con(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor,
    gamma: float = 1.0,
    mean_over: Literal["positives", "all"] = "positives",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Supervised contrastive loss in which pairs that are already close weigh less.

    mean_i (1 / |P(i)|) sum_{p in P(i)} -(1 - p_ip)^gamma log p_ip, with p_ia the softmax over all others a of anchor i
    and P(i) the others of its label. Anchors without a positive are left out of the mean. The weight is not detached.

    Args:
        embeddings: (n, d), normalized by the caller.
        labels: int (n,).
        temperature: number or 0-d tensor (learnable).
        gamma: at least 0, which gives SupCon.
        mean_over: what the sum over an anchor's positives is divided by: the number of these, |P(i)|, or that of "all"
            embeddings, the anchor's own included, so that an anchor of a large class weighs more.
        exchange: which embeddings an anchor meets on several processes.

    Returns:
        The mean over the anchors of all processes that have a positive; 0 if none has.

    Raises:
        UserError: the temperature is not above 0, gamma is below 0, `mean_over` is neither of the two, or labels do not
            fit the embeddings.

    Relations: `sup_con` at gamma 0, `focal_info_nce` where each anchor has one positive.

    Source: Zhang et al. 2021 (Core-tuning), focal contrastive loss; their code takes the mean over all.
    """
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    check_number("gamma", gamma, least=0)
    if mean_over not in ("positives", "all"):
        raise UserError(f"mean_over '{mean_over}': expected 'positives' or 'all'")
    scores = Scores(embeddings, embeddings, scale=inverse(temperature), exchange=exchange)
    others = scores.exclude(scores.own())
    same = (scores.equal(labels, labels),)
    total = others.logsumexp(dim=1)
    focal = others.sum(_focal_positive(gamma), rows=(total,), pairs=same)
    count = others.sum(lambda s, positive: positive.to(s.dtype), pairs=same).detach()
    divisor = count.clamp(min=1) if mean_over == "positives" else scores.shape[1]
    return global_mean(focal / divisor, where=count > 0)


def _focal_positive(gamma: float) -> Callable[..., Tensor]:
    def f(score: Tensor, total: Tensor, positive: Tensor) -> Tensor:
        # p = 1/2 stands in where there is no positive: any finite value does, and where() drops it with its gradient.
        return torch.where(positive, _focal(torch.where(positive, score - total, -0.7), gamma), 0.0)

    return f


def _sigmoid(n: int, seed: int) -> Example:
    example = examples.query_key(n, seed)
    shared = {"scale": examples.number(4.0), "bias": examples.number(-1.0), "gamma": 1.5, "alpha": 0.4}
    return Example(example.embeddings, shared=shared)


@loss(_sigmoid, needs=Needs.KEYS)
def focal_sigmoid(
    query: Tensor,
    key: Tensor,
    *,
    scale: float | Tensor,
    bias: float | Tensor | None = None,
    gamma: float = 1.0,
    alpha: float = 0.5,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Decides for every pair whether it belongs together, and spends its gradient on the pairs it gets wrong.

    (1 / n) sum_ij 2 a_ij (1 - p_ij)^gamma (-log p_ij), where p_ij is the probability of the truth: sigmoid(s_ij) for
    i = j, sigmoid(-s_ij) else; a_ij = alpha for i = j, 1 - alpha else; s_ij = scale q_i k_j + bias.

    Args:
        query: (n, d), normalized by the caller.
        key: (n, d); key i is the positive of query i, every other key a negative.
        scale: 1 / temperature: number or 0-d tensor (learnable).
        bias: number or 0-d tensor (learnable); the published loss has none.
        gamma: at least 0, which gives the plain sigmoid loss.
        alpha: in [0, 1]; 0.5 leaves both sides their weight, because of the factor 2.
        exchange: which keys a query meets on several processes.

    Returns:
        The sum over all pairs divided by the number of queries, over all processes.

    Raises:
        UserError: scale, gamma or alpha is out of range.

    Relations: `sigmoid_pairwise` at gamma 0 and alpha 0.5; `focal_info_nce` compares instead of deciding.

    Source: Kim et al. 2023 (RO-ViT), focal contrastive loss. Their code gives the sum, unless handed a divisor.
    """
    scale = above_zero("scale", scale)
    check_number("gamma", gamma, least=0)
    check_number("alpha", alpha, least=0, most=1)
    scores = Scores(query, key, scale=scale, bias=bias, exchange=exchange)
    others = scores.exclude(scores.own()).sum(lambda s: F.softplus(s) * torch.exp(-gamma * F.softplus(-s)))
    own = scores.diagonal()
    own = F.softplus(-own) * torch.exp(-gamma * F.softplus(own))
    return global_mean(2 * (alpha * own + (1 - alpha) * others))
