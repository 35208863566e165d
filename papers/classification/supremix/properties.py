"""What follows from the form of the loss, checked on random unit vectors in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import sup_con
from papers.classification.supremix.mixtures import Mixtures, mixed_sup_con

TEMPERATURE, WINDOW, ALL = 0.2, 4.0, slice(None)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sixteen unit vectors, a leaf; their labels from 0 to 9, two of each drawn; and shares."""
    draw = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(16, 6, generator=draw, dtype=torch.float64), dim=1)
    labels = torch.randint(10, (8,), generator=draw).repeat(2)
    return z.requires_grad_(), labels, torch.rand(16, 16, generator=draw, dtype=torch.float64)


def labels(seed: int) -> dict[str, float]:
    """Of positive mixtures, how far the mixed label is from the anchor's; of negative ones, how far it goes beyond the
    way from the anchor's to the other's, and how many have the anchor's own label."""
    _, y, shares = drawn(seed)
    around, between = Mixtures.positives(y, ALL, WINDOW), Mixtures.negatives(y, ALL, shares)
    every = y.double().expand(16, 16)
    off = (around.of(every) - y[:, None])[around.there].abs()
    way = ((between.of(every) - y[:, None]) / (every - y[:, None]))[between.there]
    return {
        "positive": float(off.max()) if len(off) else 0.0,
        "beyond": float((way - way.clamp(0, 1)).abs().max()) if len(way) else 0.0,
        "same": float((way == 0).sum()),
    }


def supcon(seed: int) -> dict[str, float]:
    """How far value and gradient are from SupCon's, without mixtures and weights."""
    z, y, _ = drawn(seed)
    ours, theirs = mixed_sup_con(z, y, temperature=TEMPERATURE, weight="none"), sup_con(z, y, temperature=TEMPERATURE)
    gradients = [torch.autograd.grad(loss, z)[0] for loss in (ours, theirs)]
    return {
        "value": abs(float((ours - theirs).detach())),
        "gradient": float((gradients[0] - gradients[1]).abs().max()),
    }


def gradient(seed: int) -> float:
    """The largest difference of the gradient from that by hand, in which mixtures move nothing but their anchor.

    With p_ia the softmax over the candidates of anchor i, weights included, and t_ia its target, 1 / |P_i| of a
    positive and else 0, it is (1 / n t) times sum_a (p_ia - t_ia) a, over rows and i's mixtures, plus
    sum_j (p_ji - t_ji) z_j over the anchors j that meet row i.
    """
    z, y, shares = drawn(seed)
    between, around = Mixtures.negatives(y, ALL, shares), Mixtures.positives(y, ALL, WINDOW)
    loss = mixed_sup_con(z, y, temperature=TEMPERATURE, negatives=between, positives=around)
    (found,) = torch.autograd.grad(loss, z)
    with torch.no_grad():
        n, every = len(z), y.double()
        vectors, about, positive = [z.expand(n, n, -1)], [every.expand(n, n)], [y[:, None] == y]
        there = [~torch.eye(n, dtype=torch.bool)]
        for mixtures in (between, around):
            share = mixtures.share[..., None]
            vectors.append(share * z[mixtures.first] + (1 - share) * z[mixtures.second])
            about.append(mixtures.of(every.expand(n, n)))
            positive.append(torch.full_like(mixtures.there, mixtures is around))
            there.append(mixtures.there)
        candidates, kept = torch.cat(vectors, dim=1), torch.cat(there, dim=1)
        logits = (candidates @ z[:, :, None]).squeeze(2) / TEMPERATURE
        logits = logits + (torch.cat(about, dim=1) - every[:, None]).abs().add(1).log()
        target = (torch.cat(positive, dim=1) & kept).double()
        pull = logits.masked_fill(~kept, -torch.inf).softmax(dim=1) - target / target.sum(dim=1, keepdim=True)
        by_hand = (pull[:, None] @ candidates).squeeze(1) + pull[:, :n].T @ z
    return float((found - by_hand / (n * TEMPERATURE)).abs().max())
