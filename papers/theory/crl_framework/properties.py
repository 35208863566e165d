"""Where the framework's losses coincide, checked on this repository's own; and what InfoNCE tells of information."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import (
    HardNegatives,
    block_contrast,
    info_nce,
    multi_view_info_nce,
    noise_contrastive,
    nt_xent,
    sup_con,
    symmetric_info_nce,
    triplet,
)
from common.population import Joint
from common.population import info_nce as expected_info_nce

LABELS = torch.tensor([0, 0, 1])
"""Of a triple: the first two are of one class."""
DIMENSIONS = 10

Loss = Callable[[Tensor, Tensor], Tensor]


def drawn(seed: int) -> tuple[Tensor, Tensor, float]:
    """Unit vectors of 2 to 64 pairs in 2 to 32 dimensions, both (n, d) and leaves, and a temperature from 0.05 to 1."""
    draw = torch.Generator().manual_seed(seed)
    n, d = (int(2 ** (1 + most * torch.rand((), generator=draw, dtype=torch.float64))) for most in (5, 4))
    sides = [F.normalize(torch.randn(n, d, generator=draw, dtype=torch.float64), dim=1) for _ in range(2)]
    temperature = 0.05 * 20 ** float(torch.rand((), generator=draw, dtype=torch.float64))
    return sides[0].requires_grad_(), sides[1].requires_grad_(), temperature


def gap(one: Loss, other: Loss, a: Tensor, b: Tensor) -> float:
    """The largest difference of two losses of the same embeddings, in value and in gradient."""
    values = [loss(a, b) for loss in (one, other)]
    gradients = [torch.autograd.grad(value, (a, b)) for value in values]
    apart = [(x - y).abs().max() for x, y in zip(*gradients, strict=True)]
    return float(max(abs(values[0] - values[1]), *apart).detach())


def identities(seed: int) -> dict[str, float]:
    """How far pairs of the library's losses are from each other where the framework says that they are one.

    Returns:
        "soft triplet": softplus(s- - s+) against InfoNCE of one negative at temperature 1; "squared distances": the
        triplet loss of unit vectors, d^2 = 2 - 2 s, against InfoNCE of one negative at temperature 1/2; "N-pair": the
        log-sum-exp of all differences against InfoNCE at temperature 1; "two ways": CLIP's loss against the mean of
        InfoNCE there and back, and "graph" twice that against InfoNCE over the graph of two views; "two views": NT-Xent
        against SupCon with a label for each sample, the mean over positives outside and inside of the logarithm, and
        against InfoNCE of all 2n views that leaves out each view itself.
    """
    a, b, t = drawn(seed)
    n, bits = len(a), math.log(2)
    labels = torch.arange(n).repeat(2)
    itself = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    itself[torch.arange(2 * n), torch.arange(2 * n).roll(n)] = -torch.inf

    def one_negative(x: Tensor, y: Tensor) -> Tensor:
        # The key of the next sample is the only negative.
        return info_nce_of_one(x, y, y.roll(-1, dims=0), 1.0)

    def by_distances(x: Tensor, y: Tensor) -> Tensor:
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        triples = [triplet(torch.stack([x[i], y[i], y[i - 1]]), LABELS, margin=None, squared=True) for i in range(n)]
        return torch.stack(triples).mean()

    def by_scores(x: Tensor, y: Tensor) -> Tensor:
        # Of a triple the two of one class are anchors in turn. Lengths are 1, and stay so in the gradient.
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        far = y.roll(1, dims=0)
        return (info_nce_of_one(x, y, far, 0.5) + info_nce_of_one(y, x, far, 0.5)) / 2

    pairs: dict[str, tuple[Loss, Loss]] = {
        "soft triplet": (lambda x, y: bits * block_contrast(x, y[:, None], negatives=1), one_negative),
        "squared distances": (by_distances, by_scores),
        "N-pair": (
            lambda x, y: bits * block_contrast(x, y[:, None], negatives=n - 1),
            lambda x, y: info_nce(x, y, temperature=1.0),
        ),
        "two ways": (
            lambda x, y: symmetric_info_nce(x, y, temperature=t),
            lambda x, y: (info_nce(x, y, temperature=t) + info_nce(y, x, temperature=t)) / 2,
        ),
        "two views, outside": (
            lambda x, y: nt_xent(x, y, temperature=t),
            lambda x, y: sup_con(torch.cat([x, y]), labels, temperature=t),
        ),
        "two views, inside": (
            lambda x, y: nt_xent(x, y, temperature=t),
            lambda x, y: sup_con(torch.cat([x, y]), labels, temperature=t, positives="in"),
        ),
        "two views, all candidates": (
            lambda x, y: nt_xent(x, y, temperature=t),
            lambda x, y: info_nce(torch.cat([x, y]), torch.cat([y, x]), temperature=t, log_weights=itself),
        ),
        "graph": (
            lambda x, y: multi_view_info_nce(torch.stack([x, y], dim=1), temperature=t),
            lambda x, y: 2 * symmetric_info_nce(x, y, temperature=t),
        ),
    }
    return {name: gap(one, other, a, b) for name, (one, other) in pairs.items()}


def info_nce_of_one(query: Tensor, key: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """InfoNCE of queries that meet their own key and one negative each, all (n, d)."""
    losses = [
        info_nce(q[None], k[None], temperature=temperature, hard_negatives=HardNegatives(other[None, None], "own"))
        for q, k, other in zip(query, key, negative, strict=True)
    ]
    return torch.stack(losses).mean()


def optimum(seed: int) -> dict[str, float]:
    """The gradients that are left at the optimal scores of binary NCE and of InfoNCE, under a known distribution.

    NCE against K uniform draws is at its best where the logit is log p(k|q) / p(k) - log K, and nowhere else; InfoNCE
    where the score is that ratio plus any function of the query.

    Raises:
        ArithmeticError: NCE does not see a number that is added to all of a query's scores.
    """
    joint = Joint.drawn(seed, 5, 8)
    draw = torch.Generator().manual_seed(seed)
    keys, t, log_z = len(joint.p[0]), 0.4, 1.3
    bank, found = torch.eye(keys, dtype=torch.float64), {"NCE": 0.0, "InfoNCE": 0.0}
    for times in (1, 2):
        noise = torch.arange(keys).repeat(times)  # each key as often as it is expected

        def nce(scores: Tensor, given: Tensor, noise: Tensor = noise) -> Tensor:
            """The expectation over the query's own key."""
            losses = [
                noise_contrastive(
                    scores[None], bank, torch.cat([own[None], noise])[None], temperature=t, log_z=log_z, eps=0.0
                )
                for own in torch.arange(keys)
            ]
            return (given * torch.stack(losses)).sum()

        for given in joint.given_rows:
            best = (t * (given.log() + log_z)).requires_grad_()
            found["NCE"] = max(found["NCE"], float(torch.autograd.grad(nce(best, given), best)[0].abs().max()))
            moved = (best + 0.3 * t).detach().requires_grad_()
            if float(torch.autograd.grad(nce(moved, given), moved)[0].abs().max()) < 1e-3:
                raise ArithmeticError("NCE is as good with another constant")
    offset = torch.randn(5, 1, generator=draw, dtype=torch.float64)
    scores = (joint.log_ratio + offset).requires_grad_()
    for candidates in (2, 8, 64):
        (left,) = torch.autograd.grad(expected_info_nce(scores, joint, candidates - 1), scores)
        found["InfoNCE"] = max(found["InfoNCE"], float(left.abs().max()))
    return found


def estimate(scores: Tensor, joint: Joint, candidates: int, counted: int) -> float:
    """log `counted` - InfoNCE with so many candidates, in nats; `counted` is as many where the bound is right."""
    return math.log(counted) - float(expected_info_nce(scores, joint, candidates - 1))


def ceiling_of(seed: int, more: int = 0) -> dict[str, float]:
    """What InfoNCE with K candidates says of information, exactly: no more than there is, and no more than log K.

    Args:
        more: added to K in log K.

    Returns:
        By how much log K - L exceeds I and log K, for the optimal scores and random ones, weak dependence and strong;
        by how much it falls where candidates are added, for the optimal scores; and by how much of log K it falls short
        by more than a hundredth, where one value tells the other and I is log 600.
    """
    found = {"information": 0.0, "candidates": 0.0, "falling": 0.0, "short": 0.0}
    draw = torch.Generator().manual_seed(seed)
    for concentration in (1.0, 0.05):
        joint = Joint.drawn(seed, 12, 9, concentration=concentration)
        random = 3 * torch.randn(12, 9, generator=draw, dtype=torch.float64)
        for scores in (joint.log_ratio, random):
            estimates = [estimate(scores, joint, k, k + more) for k in (2, 8, 64, 512, 10**5)]
            found["information"] = max(found["information"], *(e - joint.information() for e in estimates))
            if scores is not random:
                found["falling"] = max(found["falling"], *(a - b for a, b in pairwise(estimates)))
    told = Joint(torch.eye(600, dtype=torch.float64) / 600)
    for k in (2, 8):
        value = estimate(told.log_ratio, told, k, k + more)
        found["candidates"] = max(found["candidates"], value - math.log(k))
        found["short"] = max(found["short"], 0.99 - value / math.log(k))
    return found


def ceiling(seed: int) -> dict[str, float]:
    """`ceiling_of` with the right K."""
    return ceiling_of(seed)


def gaussians_of(seed: int, more: int = 0) -> dict[str, float]:
    """The same of this repository's InfoNCE over batches of ten correlated Gaussians, whose information is known.

    x and y correlate by r in each dimension: I = -5 log(1 - r^2). Their scores are the log ratio, which is an inner
    product of longer vectors. A batch of K pairs has K candidates; the mean is over 4,096 pairs and 32 batches or
    more.

    Returns:
        By how much log K - L exceeds min(I, log K) by more than three standard errors, K from 2 to 512; and at r = 0.9
        by how much of log K it falls short by more than 5% up to K = 128.
    """
    found = {"above": 0.0, "short": 0.0}
    draw = torch.Generator().manual_seed(seed)
    for r in (0.5, 0.9):
        information = -DIMENSIONS / 2 * math.log(1 - r**2)
        for k in (2, 8, 32, 128, 512):
            batches = max(32, 4096 // k)
            x, noise = torch.randn(2, batches, k, DIMENSIONS, generator=draw, dtype=torch.float64)
            y = r * x + math.sqrt(1 - r**2) * noise
            ones, lengths = torch.ones(batches, k, 1, dtype=torch.float64), r**2 / (2 * (1 - r**2))
            query = torch.cat([r / (1 - r**2) * x, -lengths * x.square().sum(-1, keepdim=True), ones], dim=-1)
            key = torch.cat([y, ones, -lengths * y.square().sum(-1, keepdim=True)], dim=-1)
            losses = torch.stack([info_nce(*pair, temperature=1.0) for pair in zip(query, key, strict=True)])
            value, error = math.log(k + more) - float(losses.mean()), float(losses.std()) / math.sqrt(batches)
            found["above"] = max(found["above"], value - min(information, math.log(k)) - 3 * error)
            if r == 0.9 and k <= 128:
                found["short"] = max(found["short"], 0.95 - value / math.log(k))
    return found


def gaussians(seed: int) -> dict[str, float]:
    """`gaussians_of` with the right K."""
    return gaussians_of(seed)
