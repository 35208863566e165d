"""What InfoNCE is of a graph of positives: a cross-entropy of random graphs, and spectral clustering of a kind.

Expectations over pairs are those of `common.population`, graphs are enumerated, all in float64.
"""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from common.population import Joint, info_nce_limit
from papers.theory.kernel_infonce.module import KernelPoints

NODES = 50
"""Of a random graph, whose weights are in (0, 1) and not symmetric."""


def graph(seed: int, n: int, m: int | None = None) -> Tensor:
    """Weights pi of the graph of positives, (n, m), of which no node is its own if there is one kind of them."""
    weights = torch.rand(n, m or n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return weights if m else weights.fill_diagonal_(0)


def points(seed: int, n: int, dim: int) -> Tensor:
    """Unit vectors, (n, dim)."""
    draw = torch.Generator().manual_seed(1000 + seed)
    return F.normalize(torch.randn(n, dim, generator=draw, dtype=torch.float64), dim=1)


def given_node(pi: Tensor) -> Tensor:
    """Of the positive of each node, rows with a sum of 1."""
    return pi / pi.sum(dim=1, keepdim=True)


def squares(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b).square().sum(dim=2)


def kernel(z: Tensor, temperature: float) -> Tensor:
    """K_Z of the Gaussian kernel exp(-d^2 / 2t), zero on the diagonal, (n, n)."""
    return (-squares(z, z) / (2 * temperature)).exp() * (1 - torch.eye(len(z), dtype=z.dtype))


def cross_entropy(pi: Tensor, k: Tensor) -> Tensor:
    """H_pi: of the graphs in which each node keeps one neighbour by K, under those by pi; rows are independent."""
    off = ~torch.eye(len(k), dtype=torch.bool) if k.shape[0] == k.shape[1] else torch.ones_like(k, dtype=torch.bool)
    return -(given_node(pi)[off] * given_node(k)[off].log()).sum()


def laplacian(weights: Tensor) -> Tensor:
    """D - W of symmetric weights W."""
    return torch.diag(weights.sum(dim=1)) - weights


def clustering(pi: Tensor, z: Tensor, temperature: float) -> Tensor:
    """tr(Z' L Z) / t + log R(Z): spectral clustering of (pbar + pbar') / 2, with a repulsion for its constraint."""
    p = given_node(pi)
    pull = (z * (laplacian((p + p.T) / 2) @ z)).sum() / temperature
    return pull + kernel(z, temperature).sum(dim=1).log().sum()


def contrast(pi: Tensor, z: Tensor, temperature: float) -> Tensor:
    """E[InfoNCE] of a uniform node, a positive by pi, and all other nodes in the denominator, by cosines over t."""
    n = len(z)
    others = (1 - torch.eye(n, dtype=z.dtype)) / (n - 1)
    scores = z @ z.T / temperature
    return info_nce_limit(scores, Joint(given_node(pi) / n), others) + math.log(n - 1)


def relative(values: list[Tensor]) -> float:
    """The largest difference from the first, over the largest entry of the first."""
    first, *others = values
    return max(float((first - other).abs().max()) for other in others) / float(first.abs().max())


def trained(seed: int) -> dict[str, float]:
    """The loss that a graph of edges is trained by, against H_pi / n of it, two of the points in nearly one place."""
    edges = graph(seed, NODES)
    edges = ((edges + edges.T) / 2 < 0.3).double().fill_diagonal_(0)
    edges[range(NODES), [*range(1, NODES), 0]] = 1.0  # no node without one
    found = {}
    for dim, t in ((2, 0.1), (8, 0.5), (16, 1.0)):
        z, method = points(seed, NODES, dim), KernelPoints(count=1, gamma=2.0, temperature=2 * t)
        z[1] = F.normalize(z[0] + 1e-5 * z[2], dim=0)
        expected, loss = cross_entropy(edges, kernel(z, t)) / NODES, method.contrast(z, edges.nonzero().T)
        found[f"trained by, {dim} dimensions, temperature {t}"] = relative([expected, loss])
    return found


def equivalence(seed: int) -> dict[str, float]:
    """E[InfoNCE], H_pi / n and the spectral form over n: values, and gradients along the sphere; and `trained`."""
    found, pi = trained(seed), graph(seed, NODES)
    for dim, t in ((2, 0.1), (5, 0.5), (16, 1.0)):
        z, values, slopes = points(seed, NODES, dim).requires_grad_(), [], []
        forms = (
            contrast(pi, z, t),
            cross_entropy(pi, kernel(z, t)) / NODES,
            clustering(pi, z, t) / NODES,
        )
        for form in forms:
            (gradient,) = torch.autograd.grad(form, z, retain_graph=True)
            values.append(form.detach())
            # Cosines and distances are the same function on the sphere alone.
            slopes.append((gradient - (gradient * z).sum(dim=1, keepdim=True) * z).detach())
        found[f"values, {dim} dimensions, temperature {t}"] = relative(values)
        found[f"gradients, {dim} dimensions, temperature {t}"] = relative(slopes)
    return found


def law(seed: int) -> dict[str, float]:
    """All 81 graphs of four nodes that keep one neighbour each: their cross-entropy, and that rows are independent.

    A graph's probability by weights K is proportional to the product of the weights of its edges.
    """
    n, t = 4, 0.5
    pi, k = graph(seed, n), kernel(points(seed, n, 3), t)
    graphs = torch.tensor([kept for kept in product(range(n), repeat=n) if all(j != i for i, j in enumerate(kept))])
    by_pi, by_k = (weights[torch.arange(n), graphs].prod(dim=1) for weights in (pi, k))
    by_pi, by_k = by_pi / by_pi.sum(), by_k / by_k.sum()
    rows = given_node(k)[torch.arange(n), graphs].prod(dim=1)
    total = -(by_pi * by_k.log()).sum()
    return {"cross-entropy": relative([total, cross_entropy(pi, k)]), "independent rows": relative([by_k, rows])}


def bipartite(seed: int) -> dict[str, float]:
    """CLIP's loss of each direction on a graph of 30 pictures and 40 texts, against the generalized spectral form."""
    n, m, found = 30, 40, {}
    pi = graph(seed, n, m)
    for dim, t in ((3, 0.1), (16, 0.5)):
        a, b = points(seed, n, dim), points(seed + 500, m, dim)
        for name, weights, one, other in (("pictures", pi, a, b), ("texts", pi.T, b, a)):
            p, count = given_node(weights), len(one)
            uniform = torch.full((len(other),), 1 / len(other), dtype=torch.float64)
            loss = info_nce_limit(one @ other.T / t, Joint(p / count), uniform) + math.log(len(other))
            both = torch.zeros(n + m, n + m, dtype=torch.float64)
            both[:count, count:] = p
            z, k = torch.cat([one, other]), (-squares(one, other) / (2 * t)).exp()
            pull = (z * (laplacian(both + both.T) @ z)).sum() / (2 * t)
            forms = [loss * count, cross_entropy(weights, k), pull + k.sum(dim=1).log().sum()]
            found[f"{name}, {dim} dimensions, temperature {t}"] = relative(forms)
    return found
