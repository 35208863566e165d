"""Two views of each sample, negatives from both: NT-Xent and its decoupled form."""

import torch
from torch import Tensor

from common.checks import check_embeddings, check_number
from common.distributed import Exchange, global_mean
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores


@loss(examples.two_views, needs=Needs.KEYS)
def nt_xent(
    view_a: Tensor, view_b: Tensor, *, temperature: float | Tensor, exchange: Exchange = Exchange.GATHER
) -> Tensor:
    """Makes each view of a sample find its other view among all other views of the batch: the loss of SimCLR.

    With z the 2n views and p(i) the other view of i,
    mean_i [ log sum_{j != i} exp(z_i z_j / t) - z_i z_p(i) / t ]: 2n - 1 candidates, of which 2n - 2 are negatives.

    Args:
        view_a, view_b: (n, d), normalized by the caller; rows i are views of one sample.
        temperature: number or 0-d tensor (learnable).
        exchange: which views an anchor meets on several processes.

    Returns:
        The mean over the 2n anchors of all processes.

    Relations: `symmetric_info_nce` has n - 1 negatives, all from the other view; `sup_con` with a label of its own for
    each sample is this loss; `decoupled_nt_xent` takes the positive out of the sum.

    Source: Chen et al. 2020 (SimCLR), eq. 1.
    """
    views, scale = _both(view_a, view_b), inverse(temperature)
    scores = Scores(views, views, scale=scale, exchange=exchange)
    total = scores.exclude(scores.own()).logsumexp(dim=1)
    positive = Scores(view_a, view_b, scale=scale).diagonal()
    return global_mean(total - torch.cat([positive, positive]))


def _weighted(n: int, seed: int) -> Example:
    example = examples.two_views(n, seed)
    return Example(example.embeddings, shared={**example.shared, "sigma": 0.5})


@loss(examples.two_views, _weighted, needs=Needs.KEYS)
def decoupled_nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    *,
    temperature: float | Tensor,
    sigma: float | None = None,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """NT-Xent without the positive in the sum: the pull on a pair no longer fades as the pair gets easy (DCL).

    mean_i [ log sum_{j not in {i, p(i)}} exp(z_i z_j / t) - w_i z_i z_p(i) / t ], 2n - 2 candidates.

    Args:
        view_a, view_b: (n, d), normalized by the caller; rows i are views of one sample.
        temperature: number or 0-d tensor (learnable).
        sigma: None for w = 1. A number for the weights w_i = 2 - exp(z_i z_p(i) / sigma) / mean, with the mean over the
            batch of all processes (DCLW); they are differentiated too.
        exchange: which views an anchor meets on several processes.

    Returns:
        The mean over the 2n anchors of all processes; 0 for a single pair, which has no negatives. Unlike a
        cross-entropy it can be negative.

    Raises:
        UserError: views of different shapes, sigma not above zero.

    Source: Yeh et al. 2022 (Decoupled Contrastive Learning), eq. 6 and 8.
    """
    check_number("sigma", sigma, above=0)
    views, scale = _both(view_a, view_b), inverse(temperature)
    total = _over_negatives(views, scale, exchange)
    positive = Scores(view_a, view_b, scale=scale).diagonal()
    if sigma is not None:
        cosine = Scores(view_a, view_b, scale=1 / sigma).diagonal().exp()
        positive = (2 - cosine / global_mean(cosine)) * positive
    value = total - torch.cat([positive, positive])
    # A single pair has no negatives, and so no term.
    return global_mean(value, where=~value.detach().isneginf())


def odds_against(
    view_a: Tensor, view_b: Tensor, *, temperature: float | Tensor, exchange: Exchange = Exchange.GATHER
) -> Tensor:
    """The log-odds that an anchor takes a negative for its positive, (2n,): `nt_xent` is the mean of their softplus.

    log sum_{j not in {i, p(i)}} exp(z_i z_j / t) - z_i z_p(i) / t = log((1 - P_i) / P_i), whose mean is
    `decoupled_nt_xent`; -inf for a single pair. Arguments as there.
    """
    views, scale = _both(view_a, view_b), inverse(temperature)
    total = _over_negatives(views, scale, exchange)
    return total - Scores(view_a, view_b, scale=scale).diagonal().repeat(2)


def _over_negatives(views: Tensor, scale: float | Tensor, exchange: Exchange) -> Tensor:
    """log sum exp of the scores of each of 2n views with those of other samples, (2n,)."""
    scores = Scores(views, views, scale=scale, exchange=exchange)
    half = torch.arange(len(views) // 2, device=views.device)
    sample = scores.layout.start + half.repeat(2)
    return scores.exclude(scores.equal(sample, sample)).logsumexp(dim=1)


def _both(view_a: Tensor, view_b: Tensor) -> Tensor:
    check_embeddings(same_rows=True, view_a=view_a, view_b=view_b)
    return torch.cat([view_a, view_b])
