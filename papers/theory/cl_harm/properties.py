"""What the block model of the paper has for its best embedding: a convex problem, so that every answer has a proof.

The loss is convex in the cosines G, which have ones on the diagonal and no negative eigenvalue. With M its gradient at
the cosines of vectors that are found, and S = M less what makes (S G)_ii zero, no vectors in any number of dimensions
are better by more than -n times the least eigenvalue of S: that is how far the answers here may be off.
"""

import math
from functools import cache

import numpy as np
import torch
from scipy.optimize import brentq, minimize
from torch import Tensor

from common.population import Joint, info_nce_limit

WITHIN = 0.95
ALPHAS = (0.1, 0.2, 0.4)
SHARES = tuple(1 / 3 / 2**k for k in range(7))
"""Of the minority: equal blocks, and down to 1 in 192."""


def pairs(shares: Tensor, edges: Tensor) -> Joint:
    """Node and neighbour by their blocks: pi_i pi_j A_ij / w_i, w_i = sum_j A_ij pi_j.

    Args:
        shares: pi, of the blocks, (k,).
        edges: A, probabilities of an edge, (k, k).
    """
    met = edges * shares
    return Joint(shares[:, None] * met / met.sum(dim=1, keepdim=True))


def loss(cosines: Tensor, shares: Tensor, edges: Tensor, temperature: float) -> Tensor:
    """The contrastive loss of blocks with these cosines, (k, k), whose nodes coincide."""
    return info_nce_limit(cosines / temperature, pairs(shares, edges), shares)


def slope(rows: np.ndarray, shares: Tensor, edges: Tensor, temperature: float) -> tuple[float, np.ndarray]:
    """The loss of vectors (k, d), and M, the symmetric part of its gradient in their cosines."""
    cosines = torch.from_numpy(rows @ rows.T).requires_grad_()
    value = loss(cosines, shares, edges, temperature)
    (gradient,) = torch.autograd.grad(value, cosines)
    return float(value.detach()), ((gradient + gradient.T) / 2).numpy()


def best(shares: Tensor, edges: Tensor, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
    """Unit vectors of the blocks, (k, k), of least loss."""
    k = len(shares)
    # A block of a small share starts with a short vector, whose direction changes as easily as a large one's.
    start = np.random.default_rng(seed).normal(size=(k, k)) * shares.sqrt().numpy()[:, None]

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        free = flat.reshape(k, k)
        length = np.linalg.norm(free, axis=1, keepdims=True)
        rows = free / length
        found, m = slope(rows, shares, edges, temperature)
        gradient = 2 * m @ rows
        tangent = gradient - (gradient * rows).sum(axis=1, keepdims=True) * rows
        return found, (tangent / length).ravel()

    options = dict(maxiter=5000, maxfun=20000, ftol=0.0, gtol=1e-12)
    flat = minimize(value, start.ravel(), jac=True, method="L-BFGS-B", options=options).x
    return flat.reshape(k, k) / np.linalg.norm(flat.reshape(k, k), axis=1, keepdims=True)


def gap(rows: np.ndarray, shares: Tensor, edges: Tensor, temperature: float = 1.0) -> float:
    """How much better, at most, any other unit vectors are, in any number of dimensions."""
    _, m = slope(rows, shares, edges, temperature)
    s = m - np.diag((m @ rows * rows).sum(axis=1))
    return max(0.0, -len(rows) * float(np.linalg.eigvalsh(s)[0]))


def three(share: float, alpha: float) -> tuple[Tensor, Tensor]:
    """The paper's three blocks: a minority of a share, its twin, to which it has edges, and another as large."""
    shares = torch.tensor([share, (1 - share) / 2, (1 - share) / 2], dtype=torch.float64)
    edges = WITHIN * torch.eye(3, dtype=torch.float64)
    edges[0, 1] = edges[1, 0] = alpha
    return shares, edges


@cache
def cosine(share: float, alpha: float) -> tuple[float, float]:
    """Of the minority and its twin in the best embedding, and how much better, at most, another is."""
    problem = three(share, alpha)
    rows = best(*problem)
    return float(rows[0] @ rows[1]), gap(rows, *problem)


def harm(seed: int) -> dict[str, float]:
    """By how much the cosine of minority and twin falls where the minority gets smaller, or has more edges to its twin;
    and how much better than the embeddings found another is at most."""
    found = {}
    table = np.array([[cosine(share, alpha) for share in SHARES] for alpha in ALPHAS])
    found["smaller"] = max(0.0, float(-np.diff(table[:, :, 0], axis=1).min()))
    found["more edges"] = max(0.0, float(-np.diff(table[:, :, 0], axis=0).min()))
    found["another is better"] = float(table[:, :, 1].max())
    return found


def nodes(rows: np.ndarray, sizes: Tensor, edges: Tensor) -> tuple[np.ndarray, Tensor, Tensor]:
    """The same for each node: vectors (n, d), shares and probabilities of an edge, by the blocks' sizes, int64 (k,)."""
    block = torch.arange(len(sizes)).repeat_interleave(sizes)
    return rows[block], torch.full((len(block),), 1 / len(block), dtype=torch.float64), edges[block][:, block]


def collapse(seed: int) -> dict[str, float]:
    """How much better, at most, any vectors of the nodes are than those that are the same for all nodes of a block: of
    three blocks as the paper's, of random sizes and with random edges, at a temperature of 1."""
    draw, found = np.random.default_rng(seed), {}
    for k in range(4):
        alpha, large = draw.uniform(0.02, 0.45), int(draw.integers(8, 25))
        sizes = torch.tensor([int(draw.integers(2, large + 1)), large, large])
        shares, edges = three(float(sizes[0] / sizes.sum().double()), alpha)
        found[f"blocks {k}"] = gap(*nodes(best(shares, edges), sizes, edges))
    return found


def condition(seed: int) -> dict[str, float]:
    """Of three to five random blocks, with many edges between them or few: what the bound of the nodes is off from what
    push and pull along a block's own vector say, which is the largest excess of the push over all blocks, or 0.

    Raises:
        ArithmeticError: the push was never larger, or always, so that one side was not looked at.
    """
    draw, found, larger = np.random.default_rng(seed), {}, set()
    for t, most in ((0.3, 0.5), (1.0, 0.5), (1.0, 0.02)):
        sizes = torch.from_numpy(draw.integers(2, 10, size=draw.integers(3, 6)))
        edges = torch.from_numpy(draw.uniform(0, most, size=(len(sizes), len(sizes)))).triu(1)
        edges = edges + edges.T + torch.diag(torch.from_numpy(draw.uniform(0.5, 1, size=len(sizes))))
        shares = sizes / sizes.sum().double()
        rows = best(shares, edges, t)
        _, m = slope(rows, shares, edges, t)
        excess = float(((m @ rows * rows).sum(axis=1) / shares.numpy()).max())
        found[f"temperature {t}, edges up to {most}"] = abs(gap(*nodes(rows, sizes, edges), t) - max(0.0, excess))
        larger.add(excess > 0)
    if len(larger) < 2:
        raise ArithmeticError("the push is larger in all of these blocks, or in none")
    return found


def vanishing(alpha: float) -> float:
    """The cosine of minority and twin as the share falls to 0, at a temperature of 1: the root c of
    tanh c + sinh c / cosh 1 = 1 + alpha / WITHIN, or 1 where there is none up to 1."""

    def excess(c: float) -> float:
        return math.tanh(c) + math.sinh(c) / math.cosh(1) - 1 - alpha / WITHIN

    return 1.0 if excess(1.0) <= 0 else float(brentq(excess, 0.0, 1.0, xtol=1e-14))


def limit(seed: int) -> dict[str, float]:
    """What the cosine at a share of 1 in 100,000 is off from `vanishing`, where the blocks just do not merge and do."""
    return {f"alpha {alpha}": abs(cosine(1e-5, alpha)[0] - vanishing(alpha)) for alpha in (0.05, 0.2, 0.4, 0.6)}
