"""What the two conditional distributions do to the gradient, checked on random views in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import attraction_repulsion

ATTRACTION, REPULSION = 1.5, 2.0
SAMPLES, VIEWS = 7, 4


def drawn(seed: int, views: int = VIEWS) -> Tensor:
    """Views of seven samples, unit vectors, (7, views, 16); a leaf."""
    draw = torch.Generator().manual_seed(seed)
    centre = torch.randn(SAMPLES, 1, 16, generator=draw, dtype=torch.float64)
    rows = centre + torch.randn(SAMPLES, views, 16, generator=draw, dtype=torch.float64)
    return F.normalize(rows, dim=-1).requires_grad_()


def gradient(views: Tensor, **arguments) -> Tensor:
    (found,) = torch.autograd.grad(attraction_repulsion(views, **arguments), views)
    return found


def by_pair(views: Tensor, detached: bool) -> Tensor:
    """The slope of the loss in the cosine of each query (rows) with each other view (columns), (7 v, 7 v).

    A positive's share grows with its distance and a negative's falls. Through the weights come factors of
    1 + t+ (c - mean) and 1 - t- (c - mean), the mean by the weights: a far positive is pulled harder still, and a
    negative farther than the mean by more than 1 / t- is drawn closer instead of pushed.
    """
    n, v, _ = views.shape
    flat = views.detach().flatten(0, 1)
    cost = 2 - 2 * flat @ flat.T
    sample, view = (torch.arange(n * v) // v, torch.arange(n * v) % v)
    same = (sample[:, None] == sample) & ~torch.eye(n * v, dtype=torch.bool)
    slope = torch.zeros(n * v, n * v, dtype=torch.float64)

    def shares(candidates: Tensor, sharpness: float) -> Tensor:
        weight = (sharpness * cost).masked_fill(~candidates, -torch.inf).softmax(dim=1).nan_to_num()
        mean = (weight * cost).sum(dim=1, keepdim=True)
        return weight if detached else weight * (1 + sharpness * (cost - mean))

    slope -= 2 * shares(same, ATTRACTION) / (n * v)
    for later in range(1, v):
        against = (sample[:, None] != sample) & (view[:, None] < later) & (view == later)
        slope += 2 * shares(against, -REPULSION) / (n * v * (v - 1) / 2)
    return slope


def shares(seed: int) -> dict[str, float]:
    """The largest difference between the gradient and that of these shares, with the weights detached and not."""
    views = drawn(seed)
    flat, deviations = views.detach().flatten(0, 1), {}
    for detached in (True, False):
        slope = by_pair(views, detached)
        expected = ((slope + slope.T) @ flat).view_as(views)
        found = gradient(views, attraction=ATTRACTION, repulsion=REPULSION, detached=detached)
        deviations["detached" if detached else "differentiated"] = float((found - expected).abs().max())
    return deviations


def decoupled(seed: int) -> dict[str, float]:
    """How far 2 t times the gradient of decoupled contrast is from CACR's, weights detached, t = 1 / (2 t-).

    Returns:
        "one positive": whatever t+ is; "several": with t+ = 0.

    Raises:
        ArithmeticError: with several positives and t+ above 0 it is the same, so that t+ would do nothing.
    """
    deviations, temperature = {}, 1 / (2 * REPULSION)
    for name, count, sharpness in (("one positive", 2, ATTRACTION), ("several", VIEWS, 0.0)):
        views = drawn(seed, count)
        losses = []
        for a in range(count):
            for b in range(a + 1, count):
                logits = views[:, a] @ views[:, b].T / temperature
                negatives = logits.masked_fill(torch.eye(SAMPLES, dtype=torch.bool), -torch.inf)
                losses.append((negatives.logsumexp(dim=1) - logits.diagonal()).mean())
        (expected,) = torch.autograd.grad(2 * temperature * torch.stack(losses).mean(), views)
        found = gradient(views, attraction=sharpness, repulsion=REPULSION, detached=True)
        deviations[name] = float((found - expected).abs().max())
    if (
        float((gradient(views, attraction=ATTRACTION, repulsion=REPULSION, detached=True) - expected).abs().max())
        < 1e-4
    ):
        raise ArithmeticError("the weights of the positives change nothing")
    return deviations
