"""The two losses of metric learning on mixed examples, whose label lies between negative and positive; mixed maps."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import global_mean, sum_over_processes
from common.losses.precision import at_least_float32
from common.sampling.mixup import Mixture


def mixed_pools(mixture: Mixture, maps: Tensor) -> Tensor:
    """The mean plus the maximum over places of mixed feature maps, (m, c), from the maps of rows, (n, c, h, w).

    The gradient flows through the places of the maxima alone, not through m maps: that halves the time of a step.
    """
    flat = maps.flatten(2)
    _, channels, size = flat.shape
    with torch.no_grad():
        place = mixture.of(flat).max(dim=2).indices

    def at_maxima(rows: Tensor) -> Tensor:
        channel = rows[:, None] * channels + torch.arange(channels, device=rows.device)
        return flat.flatten().index_select(0, (channel * size + place).flatten()).view(place.shape)

    share = mixture.share.to(maps.dtype)[:, None]
    maximum = share * at_maxima(mixture.first) + (1 - share) * at_maxima(mixture.second)
    return mixture.of(flat.mean(dim=2)) + maximum


def mixed_contrastive(
    anchors: Tensor, mixed: Tensor, positive: Tensor, *, margin: float, weight: Tensor | None = None
) -> Tensor:
    """The contrastive loss of pairs: a mixed example is drawn by its share of a positive and pushed by the rest.

    mean of y d over the pairs where it is not 0, plus mean of (1 - y) [m - d]_+ over those where it is not 0, d the
    Euclidean distance. At y of 1 and 0 these are the two means of `contrastive_margin` over the same pairs.

    Args:
        anchors: what each mixed example is compared with, (m, d).
        mixed: (m, d).
        positive: y, how much of a positive the mixed example is, in [0, 1], (m,).
        margin: m, in units of d.
        weight: how often each pair counts, (m,); None for once.

    Returns:
        Over the pairs of all processes; 0 if there is none.
    """
    distance = torch.linalg.vector_norm(at_least_float32(anchors) - at_least_float32(mixed), dim=1)
    positive = positive.to(distance.dtype)
    times = torch.ones_like(distance) if weight is None else weight.to(distance.dtype)

    def mean(costs: Tensor) -> Tensor:
        count = sum_over_processes((times * (costs > 0)).sum())
        return sum_over_processes((times * costs).sum()) / count.clamp(min=1)

    return mean(positive * distance) + mean((1 - positive) * torch.relu(margin - distance))


def mixed_multi_similarity(
    anchors: Tensor, mixed: Tensor, positive: Tensor, owner: Tensor, *, pull: float, push: float, base: float
) -> Tensor:
    """The multi-similarity loss of mixed examples, each of which stands in both sums of its anchor.

    mean over anchors a of log[1 + sum_v y_v exp(-pull (s_av - base))] / pull +
    log[1 + sum_v (1 - y_v) exp(push (s_av - base))] / push, s the inner product.

    Args:
        anchors, mixed, positive: as in `mixed_contrastive`, all of unit length.
        owner: int (m,), the same for all examples of one anchor and no other.
        pull, push, base: as in `multi_similarity`.

    Returns:
        The mean over the anchors of all processes that have a mixed example; 0 if none has.
    """
    _, group = owner.unique(return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    exponent = (at_least_float32(anchors) * at_least_float32(mixed)).sum(dim=1) - base
    positive = positive.to(exponent.dtype)

    def side(sharpness: float, share: Tensor) -> Tensor:
        x = sharpness * exponent
        top = x.new_full((count,), -torch.inf).scatter_reduce(0, group, x.detach(), "amax")
        total = x.new_zeros(count).index_add(0, group, share * (x - top[group]).exp())
        # At a share of 0 the sum is empty: the clamp keeps its logarithm finite, and passes no gradient on.
        return F.softplus(top + total.clamp(min=torch.finfo(x.dtype).tiny).log()) / abs(sharpness)

    return global_mean(side(-pull, positive) + side(push, 1 - positive))
