"""What the loss of sufficiency is, and what it bounds: exactly, on distributions that are known, in float64.

a is one view and b the other, c = code(a). Information, divergences and losses are those of `common.population`.
"""

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor

from common.population import (
    Joint,
    bregman,
    chi_square,
    info_nce,
    info_nce_limit,
    kullback_leibler,
    ratio_of_posteriors,
    spectral,
)
from common.population.joint import Generator

DRAWS = 100
"""Joint distributions a seed."""
SIZE = 3.0
"""B, the largest value of a bounded target."""


def drawn(seed: int, most: int = 32) -> list[tuple[Joint, Tensor]]:
    """Joint distributions of 4 to `most` values on either side, weak dependence and strong, and codes of 2 to 8."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        n, m = draw.integers(4, most + 1, size=2)
        joint = Joint.drawn(int(draw.integers(1 << 31)), n, m, concentration=float(draw.uniform(0.1, 1)))
        code = torch.from_numpy(draw.integers(0, min(8, n - 1), size=n))
        found.append((joint, code.unique(return_inverse=True)[1]))
    return found


def information_lost(joint: Joint, code: Tensor, f: Generator = kullback_leibler) -> float:
    """I_f(a; b) - I_f(c; b)."""
    return joint.information(f) - joint.merged(code).information(f)


def ratio_lost(joint: Joint, code: Tensor, f: Generator = kullback_leibler) -> float:
    """E B_f(p(a, b) / p(a) p(b), p(c, b) / p(c) p(b)) of independent a and b, B_f the Bregman divergence."""
    ratio, coarse = joint.log_ratio.exp(), joint.merged(code).log_ratio.exp()[code]
    return float((joint.rows[:, None] * joint.columns * bregman(ratio, coarse, f)).sum())


def excess(joint: Joint, link: Tensor, code: Tensor, f: Generator = kullback_leibler) -> Tensor:
    """By how much a contrastive loss of link(c, b), for the logarithm of the ratio, is above that of the best scores.

    InfoNCE with any number of negatives for the Kullback-Leibler divergence, the spectral loss for Pearson's.
    """
    if f is kullback_leibler:
        return info_nce_limit(link[code], joint) - info_nce_limit(joint.log_ratio, joint)
    return spectral(link.exp()[code], joint) - spectral(joint.log_ratio.exp(), joint)


def identity(seed: int) -> dict[str, float]:
    """How far the forms of the loss of sufficiency are from each other; that the best link is log p(c, b) / p(c) p(b);
    and by how much any other link of the code shows less than is lost.

    Pearson's divergence is taken over the loss, as it may be large.
    """
    draw, found = torch.Generator().manual_seed(seed), {"kl": 0.0, "chi2": 0.0}
    found |= {f"{kind}, {name}": 0.0 for kind in ("kl", "chi2") for name in ("link", "another link")}
    for joint, code in drawn(seed):
        link = joint.merged(code).log_ratio
        for name, f in (("kl", kullback_leibler), ("chi2", chi_square)):
            best = link.clone().requires_grad_()
            over = excess(joint, best, code, f)
            (slope,) = torch.autograd.grad(over, best)
            values = [information_lost(joint, code, f), ratio_lost(joint, code, f), float(over.detach())]
            if f is kullback_leibler:
                values.append(joint.sufficiency(code))
            step = 10 ** (-6 * float(torch.rand((), generator=draw)))
            other = link + step * torch.randn(link.shape, generator=draw, dtype=torch.float64)
            scale = max(1.0, values[0])
            found[name] = max(found[name], (max(values) - min(values)) / scale)
            found[f"{name}, link"] = max(found[f"{name}, link"], float(slope.abs().max()) / scale)
            less = values[0] - float(excess(joint, other, code, f))
            found[f"{name}, another link"] = max(found[f"{name}, another link"], less / scale)
    return found


def candidates(seed: int) -> dict[str, float]:
    """With K candidates the same link is best, whose excess tends to the loss of sufficiency.

    Returns:
        The largest slope at that link, K from 2 to 64; by how much the excess is below 0 there; and at a million how
        far it is from the limit less half of the lost Pearson information over K.
    """
    found = {"link": 0.0, "below 0": 0.0, "limit": 0.0}
    for joint, code in drawn(seed, most=8)[:10]:
        best = joint.merged(code).log_ratio.requires_grad_()

        def over(k: int, joint: Joint = joint, code: Tensor = code, best: Tensor = best) -> Tensor:
            return info_nce(best[code], joint, k - 1) - info_nce(joint.log_ratio, joint, k - 1)

        for k in (2, 8, 64):
            value = over(k)
            found["link"] = max(found["link"], float(torch.autograd.grad(value, best)[0].abs().max()))
            found["below 0"] = max(found["below 0"], -float(value.detach()))
        limit = information_lost(joint, code) - information_lost(joint, code, chi_square) / (2 * 10**6)
        found["limit"] = max(found["limit"], abs(float(over(10**6).detach()) - limit))
    return found


def two_sided(seed: int) -> dict[str, float]:
    """Where both views are known by their codes alone: what the excess then is, and that it is no less than the loss of
    sufficiency."""
    found = {"identity": 0.0, "less than one-sided": 0.0}
    for joint, code in drawn(seed):
        both = joint.merged(code).p
        other = torch.arange(both.shape[1]) % 5
        coarse = Joint(both.T).merged(other)
        scores = coarse.log_ratio.T[code][:, other]
        lost = info_nce_limit(scores, joint) - info_nce_limit(joint.log_ratio, joint)
        found["identity"] = max(found["identity"], abs(float(lost) - (joint.information() - coarse.information())))
        found["less than one-sided"] = max(found["less than one-sided"], information_lost(joint, code) - float(lost))
    return found


def bounded(lost: float, size: float) -> float:
    """Of the squared error of what a target of at most `size` is said to be: 2 B^2 times the loss, by Pinsker."""
    return 2 * size**2 * lost


def missed(joint: Joint, code: Tensor) -> Tensor:
    """p(b | a) - p(b | c), (n, m)."""
    return joint.given_rows - joint.merged(code).given_rows[code]


def worst(joint: Joint, code: Tensor) -> float:
    """The largest E (E[g(b) | a] - E[g(b) | c])^2 of any target with values of at most `SIZE`: at plus and minus it."""
    signs = SIZE * torch.tensor([(1.0, *rest) for rest in product((-1.0, 1.0), repeat=joint.p.shape[1] - 1)]).double()
    return float((joint.rows[:, None] * (missed(joint, code) @ signs.T).square()).sum(dim=0).max())


def downstream(seed: int) -> dict[str, float]:
    """By how much errors of targets of the other view are above their bounds; and what is left of 1 where they meet.

    A target of bounded size by the Kullback-Leibler loss, the worst there is, and the worst for each a; a target of any
    size by its mean square times Pearson's loss. Where one bit hardly tells another, and where two values are merged
    and the target is what parts them, error and bound meet.
    """
    draw, found = torch.Generator().manual_seed(seed), {"kl": 0.0, "kl, worst for each": 0.0, "chi2": 0.0}
    for joint, code in drawn(seed, most=8):
        bound = bounded(information_lost(joint, code), SIZE)
        each = SIZE**2 * float((joint.rows * missed(joint, code).abs().sum(dim=1).square()).sum())
        target = torch.randn(joint.p.shape[1], generator=draw, dtype=torch.float64)
        error = float((joint.rows * (missed(joint, code) @ target).square()).sum())
        square = float((joint.columns * target.square()).sum()) * information_lost(joint, code, chi_square)
        found["kl"] = max(found["kl"], worst(joint, code) - bound)
        found["kl, worst for each"] = max(found["kl, worst for each"], each - bound)
        found["chi2"] = max(found["chi2"], error - square)
        pair = torch.arange(len(joint.p)).clamp(min=1) - 1  # the first two values are one
        target = missed(joint, pair)[0] / joint.columns
        error = float((joint.rows * (missed(joint, pair) @ target).square()).sum())
        square = float((joint.columns * target.square()).sum()) * information_lost(joint, pair, chi_square)
        found["chi2, where they meet"] = max(found.get("chi2, where they meet", 0.0), abs(1 - error / square))
    bit = Joint(0.25 + 1e-3 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64) / 2)
    none = torch.zeros(2, dtype=torch.int64)
    found["kl, where they meet"] = abs(1 - worst(bit, none) / bounded(information_lost(bit, none), SIZE))
    return found


def invariant(lost: float, error: float, size: float) -> float:
    """Of the risk of a target of the sample: (sqrt(2 B^2 lost) + sqrt(5/4 error))^2."""
    return (math.sqrt(bounded(lost, size)) + math.sqrt(1.25 * error)) ** 2


def risks(shares: Tensor, views: Tensor, target: Tensor, code: Tensor) -> tuple[float, float]:
    """Of a target y(x) of samples x, whose views a and b are drawn alike: risk of E[g(b) | code(a)], and `invariant`.

    g(b) = E[y | b], whose own risk is the error of the augmentation.

    Args:
        shares: of the samples, (k,).
        views: p(view | x), (k, n).
        target: y of each sample, (k,).
        code: of each view, (n,).
    """
    joint = Joint.of_classes(shares, views)
    known = shares[:, None] * views  # p(x, view)
    g = (known * target[:, None]).sum(dim=0) / joint.rows
    said = (joint.merged(code).given_rows @ g)[code]
    risk, error = (float((known * (x - target[:, None]).square()).sum()) for x in (said, g))
    return risk, invariant(max(0.0, information_lost(joint, code)), error, float(g.abs().max()))


def augmentation(seed: int) -> dict[str, float]:
    """By how much the risk is above its bound, for weak augmentations and strong; and that it meets it for a bit that
    half of the views have lost, where nothing is lost by the code."""
    draw, found = np.random.default_rng(seed), {}
    for concentration in (0.03, 0.3, 3.0):
        above = 0.0
        for _ in range(DRAWS):
            shares, views = draw.dirichlet(np.ones(5)), draw.dirichlet(np.full(7, concentration), size=5) + 1e-9
            views /= views.sum(axis=1, keepdims=True)
            code, target = draw.integers(0, 4, size=7), draw.choice([-1.0, 1.0], size=5) * draw.uniform(size=5)
            given = [torch.from_numpy(x) for x in (shares, views, target, code)]
            risk, bound = risks(*given[:3], given[3].unique(return_inverse=True)[1])
            above = max(above, risk - bound)
        found[f"concentration {concentration}"] = above
    lost = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]], dtype=torch.float64)
    bit = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    risk, bound = risks(torch.full_like(bit, 0.5), lost, bit, torch.arange(3))
    found["where they meet"] = abs(risk - bound)
    return found


def topics(seed: int) -> dict[str, float]:
    """Of views that are independent given a topic: products of how likely each topic is are the ratio, and the best
    scores of both losses; and views that make each topic as likely are one, and nothing is lost. Relative."""
    draw, found = np.random.default_rng(seed), {"ratio": 0.0, "info_nce": 0.0, "spectral": 0.0, "merged": 0.0}
    for _ in range(DRAWS):
        shares, a, b = (torch.from_numpy(draw.dirichlet(np.ones(n), size=k)) for k, n in ((1, 4), (4, 12), (4, 9)))
        shares = shares[0]
        # Each value of a once more, half as likely: it tells what its twin tells.
        joint = Joint.of_classes(shares, torch.cat([2 * a, a], dim=1) / 3, b)
        one, other = (x.T * shares / (x.T @ shares)[:, None] for x in (torch.cat([a, a], dim=1), b))
        scores, best = ratio_of_posteriors(one, other, shares), joint.log_ratio.exp()
        found["ratio"] = max(found["ratio"], float((scores / best - 1).abs().max()))
        found["info_nce"] = max(
            found["info_nce"], abs(float(info_nce_limit(scores.log(), joint)) + joint.information())
        )
        least = -1 - joint.information(chi_square)
        found["spectral"] = max(found["spectral"], abs(float(spectral(scores, joint)) - least))
        found["merged"] = max(found["merged"], abs(information_lost(joint, torch.arange(24) % 12)))
    return found


def told(second: np.ndarray, cross: np.ndarray, rows: np.ndarray) -> float:
    """I(W a; b) in nats of Gaussian views with second moments S of each and C = E a b', both symmetric, W of (k, d)."""
    explained = np.linalg.solve(rows @ second @ rows.T, rows @ cross @ np.linalg.solve(second, cross) @ rows.T)
    return -np.linalg.slogdet(np.eye(len(rows)) - explained)[1] / 2


def strengths(second: np.ndarray, cross: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations of the views, falling, and their directions as rows."""
    values, vectors = np.linalg.eigh(second)
    whitening = vectors / np.sqrt(values) @ vectors.T
    correlations, directions = np.linalg.eigh(whitening @ cross @ whitening)
    return correlations[::-1], directions[:, ::-1].T @ whitening


def gaussian(seed: int) -> dict[str, float]:
    """Of x + noise and x + other noise, normal: a linear code of the k strongest canonical directions loses
    -1/2 sum_{j > k} log(1 - r_j^2), and none of k directions loses less, those near it and any others.

    "principal": with noise that is alike in all directions these are the principal ones of x, as good for the
    regression onto what both share.
    """
    draw, d, found = np.random.default_rng(seed), 6, {"formula": 0.0, "another": 0.0, "principal": 0.0}
    for alike in (False, True):
        root = draw.normal(size=(d, d)) * draw.exponential(size=d)
        cross = root @ root.T
        noise = np.eye(d) if alike else np.diag(draw.uniform(0.2, 3, size=d))
        second = cross + noise
        correlations, directions = strengths(second, cross)
        whole = told(second, cross, np.eye(d))
        for k in range(1, d):
            least = -np.log1p(-(correlations[k:] ** 2)).sum() / 2
            found["formula"] = max(found["formula"], abs(whole - told(second, cross, directions[:k]) - least))
            for scale in (0.01, 0.1, 100.0):
                other = directions[:k] + scale * draw.normal(size=(k, d))
                found["another"] = max(found["another"], least - (whole - told(second, cross, other)))
            if alike:
                leading = np.linalg.eigh(cross)[1][:, ::-1][:, :k].T
                found["principal"] = max(found["principal"], abs(whole - told(second, cross, leading) - least))
    return found
