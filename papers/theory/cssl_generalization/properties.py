"""The theorems on finite problems: few points, few augmentations, all of them known, so that nothing is sampled.

Each point has m augmented versions, itself among them, and each version is as likely; classes share none. All sups,
means, distances and Lipschitz constants are over what there is, in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.evaluation.concentration import augmented_distance, concentration
from data.benchmarks.worlds.groups import Groups

SETS = ((), (1,), (1, 2), (1, 2, 3))
"""What views redraw, each set with what the one before redraws."""


@dataclass(frozen=True)
class Problem:
    """Versions of points, (m, n, d), what an encoder of length 1 makes of them, (m, n, k), the points' classes and
    probabilities, (n,)."""

    versions: Tensor
    features: Tensor
    labels: Tensor
    mass: Tensor

    @property
    def shares(self) -> Tensor:
        """Of the classes, p_k."""
        return torch.stack([self.mass[self.labels == label].sum() for label in self.labels.unique()])

    @property
    def centres(self) -> Tensor:
        """mu_k, the mean of f over the versions of a class, (classes, k)."""
        mean = self.features.mean(dim=0) * self.mass[:, None]
        sums = torch.stack([mean[self.labels == label].sum(dim=0) for label in self.labels.unique()])
        return sums / self.shares[:, None]

    @property
    def spread(self) -> Tensor:
        """Distances of f between any two versions of a point, (n, m, m)."""
        return _distances(self.features.transpose(0, 1))

    def misaligned(self, eps: float) -> float:
        """R_eps: the mass of the points that have two versions farther apart than eps."""
        return float(self.mass[self.spread.amax(dim=(1, 2)) > eps].sum())

    def alignment(self) -> float:
        """L_align = E |f(x1) - f(x2)|^2 over two versions of a point."""
        return float(self.mass @ self.spread.square().mean(dim=(1, 2)))

    def error(self) -> float:
        """Err(G_f): the mass of the points that are nearer to another class's centre than to their own."""
        nearest = torch.cdist(self.features[0], self.centres).argmin(dim=1)
        return float(self.mass[nearest != self.labels].sum())

    def lipschitz(self) -> float:
        """The least L with |f(x) - f(x')| <= L |x - x'| over all versions."""
        inputs, outputs = _distances(self.versions.flatten(0, 1)), _distances(self.features.flatten(0, 1))
        return float((outputs / inputs.where(inputs > 0, 1.0)).max())


def _distances(rows: Tensor) -> Tensor:
    """From each of them to each, (..., n, n), exactly 0 to itself."""
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def problem(seed: int, m: int = 3) -> Problem:
    """Classes that an encoder parts, two to four, but for one rare point in each that lies beside another class, and
    one of which the point itself does and its other versions do not. What is rare is drawn, down to next to nothing."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    classes, each, dim = 2 + seed % 3, 6, 4
    # The corners of a simplex: as far from each other as any.
    corners = F.normalize(torch.eye(classes, dim, dtype=torch.float64) - _middle(classes, dim), dim=1)
    labels = torch.arange(classes).repeat_interleave(each)
    mass = torch.full((classes, each), 1 / each, dtype=torch.float64)
    rare = 10 ** -(1 + 3 * torch.rand(classes, 2, generator=draw, dtype=torch.float64))
    if seed % 2:  # as rare in each class, and hardly any point of the second kind: where the bound is nearest
        rare = torch.tensor([1.0, 1e-3], dtype=torch.float64) * rare[0, 0]
        rare = rare.repeat(classes, 1)
    mass[:, :2] = rare
    mass[:, 2:] = (1 - rare.sum(dim=1, keepdim=True)) / (each - 2)
    shares = torch.rand(classes, generator=draw, dtype=torch.float64) + 0.5
    place = corners[labels].expand(m, -1, -1).clone().view(m, classes, each, dim)
    place[:, :, 0] = corners.roll(1, dims=0)
    place[0, :, 1] = corners.roll(1, dims=0)
    wide = 10 ** -float(1 + 2 * torch.rand(1, generator=draw))
    versions = (place + wide * normal(1, classes, each, dim) + 0.3 * wide * normal(m, classes, each, dim)).flatten(1, 2)
    features = F.normalize(versions, dim=2)
    return Problem(10 * versions, features, labels, (mass * (shares / shares.sum())[:, None]).flatten())


def _middle(classes: int, dim: int) -> Tensor:
    middle = torch.zeros(dim, dtype=torch.float64)
    middle[:classes] = 1 / classes
    return middle


def holds(problem: Problem, sigma: float, delta: float, eps: float) -> bool:
    """The condition of theorem 1, with r = 1: whether all centres are far enough from each other."""
    centres, late = problem.centres, problem.misaligned(eps) / float(problem.shares.min())
    rho = 2 * (1 - sigma) + late + sigma * (problem.lipschitz() * delta + 2 * eps)
    least = 1 - float(centres.square().sum(dim=1).min())
    products = (centres @ centres.T).fill_diagonal_(-torch.inf)
    return float(products.max()) < 1 - rho - (2 * rho) ** 0.5 - least / 2


def bound(problem: Problem, sigma: float, eps: float) -> float:
    """Of the error by theorem 1: (1 - sigma) + R_eps."""
    return 1 - sigma + problem.misaligned(eps)


def steepness(m: int, eps: float) -> float:
    """eta(eps) for m transformations of equal probability, as derived here: m^2 / (2 eps).

    Where two versions are more than eps apart, the mean over all m^2 pairs is above 2 eps / m^2.
    """
    return m**2 / (2 * eps)


def apart(sigma: float, late: float, m: int, width: float) -> float:
    """What theorem 1's rho is to bound, 1 - f(x).mu_k of an aligned point of a main part, as derived here.

    Of the class a share of 1 - sigma is outside of the main part, and `late` of it is inside and has versions more than
    eps apart, of which one is near. All that is near is within `width`, L delta + 2 eps, of f(x), and so has a product
    of at least 1 - width^2 / 2 with it; all else is at worst opposite.
    """
    near = sigma - (1 - 1 / m) * late
    return 2 * (1 - near) + near * min(width, 2.0) ** 2 / 2


def centre_bound(seed: int) -> dict[str, float]:
    """What 1 - f(x).mu_k exceeds `apart` by, for all aligned points of main parts, over 10 problems and five eps; and
    what it is off where all that is near is as far as can be, and all else opposite."""
    off = 0.0
    for number in range(10):
        one = problem(10 * seed + number, m=2 + number % 3)
        distance, steep, centres = augmented_distance(one.versions), one.lipschitz(), one.centres
        for label in one.labels.unique():
            own = one.labels == label
            main, share = own.nonzero()[2:, 0], one.mass / one.mass[own].sum()  # the first two lie beside another class
            delta = float(distance[main][:, main].max())
            for eps in (0.01, 0.03, 0.1, 0.3, 1.0):
                late = one.spread[main].amax(dim=(1, 2)) > eps
                bound = apart(
                    float(share[main].sum()), float(share[main][late].sum()), len(one.versions), steep * delta + 2 * eps
                )
                found = 1 - one.features[:, main[~late]] @ centres[label]
                off = max(off, float(found.max()) - bound) if found.numel() else off
    m, point, near = 2 + seed % 3, [1.0, 0.0], [0.8, 0.6]
    # x, which is rare; what is near it; what is so in one version alone; and what is outside of the main part.
    rows = [[point, near, near, [-1.0, 0.0]]] + [[point, near, [-1.0, 0.0], [-1.0, 0.0]]] * (m - 1)
    features = torch.tensor(rows, dtype=torch.float64)
    mass = torch.tensor([0.0, 0.7, 0.2, 0.1], dtype=torch.float64)
    one = Problem(features, features, torch.zeros(4, dtype=torch.long), mass)
    bound = apart(1 - float(mass[3]), one.misaligned(1.0), m, float((features[0, 0] - features[0, 1]).norm()))
    equal = 1 - float(features[0, 0] @ one.centres[0]) - bound
    return {"f(x).mu_k": off, "at equality": abs(equal)}


def error_bound(seed: int) -> dict[str, float]:
    """What the error exceeds theorem 1's bound by, and the bound by the alignment loss, over 40 problems, main parts
    and eps that meet the condition; nothing is sampled.

    Raises:
        ArithmeticError: none with an error met it.
    """
    found, met = {"theorem 1": 0.0, "by alignment": 0.0}, 0
    for number in range(40):
        one = problem(40 * seed + number)
        error, distance = one.error(), augmented_distance(one.versions)
        near = [distance[one.labels == label][:, one.labels == label] for label in one.labels.unique()]
        # Wide enough for the four, five or all six points of each class that are nearest to each other.
        for kept in (4, 5, 6):
            delta = max(float(part.flatten().sort().values[kept**2 - 1]) for part in near)
            sigma = concentration(distance, one.labels, delta, one.mass)
            for eps in (0.01, 0.03, 0.1, 0.3):
                if not holds(one, sigma, delta, eps):
                    continue
                met += error > 0
                by_loss = 1 - sigma + steepness(len(one.versions), eps) * one.alignment() ** 0.5
                found["theorem 1"] = max(found["theorem 1"], error - bound(one, sigma, eps))
                found["by alignment"] = max(found["by alignment"], error - by_loss)
    if not met:
        raise ArithmeticError("no problem with an error met the condition of theorem 1")
    return found


def alignment_bound(seed: int) -> dict[str, float]:
    """What R_eps exceeds eta times the mean distance of two versions by, and that times the root of L_align; with two
    versions also where all points have them just farther apart than eps, and the first is an equality."""
    found = {}
    for m in (2, 3, 5):
        one, off = problem(seed, m), 0.0
        for eps in (0.003, 0.01, 0.03, 0.1, 0.3):
            mean = float(one.mass @ one.spread.mean(dim=(1, 2)))
            rate, late = steepness(m, eps), one.misaligned(eps)
            off = max(off, late - rate * mean, late - rate * one.alignment() ** 0.5)
        found[f"{m} versions"] = max(off, 0.0)
    draw = torch.Generator().manual_seed(seed)
    angles = torch.rand(2, 8, generator=draw, dtype=torch.float64) * 6
    angles[1] = angles[0] + 0.2
    features = torch.stack([angles.cos(), angles.sin()], dim=2)
    mass = torch.full((8,), 1 / 8, dtype=torch.float64)
    even = Problem(features, features, torch.arange(8) % 2, mass)
    eps = float(even.spread.amax(dim=(1, 2)).min()) * (1 - 1e-9)
    mean = float(mass @ even.spread.mean(dim=(1, 2)))
    found["at equality"] = max(even.misaligned(eps) - steepness(2, eps) * mean * (1 + 1e-8), 0.0)
    return found


def info_nce_bound(products: Tensor, shares: Tensor) -> Tensor:
    """Theorem 3's bound of the products of centres, (k, k), where each class is one point: tau, eps and R_eps are 0.

    The loss has one negative, of a class drawn anew, and no temperature.
    """
    loss = float((shares[:, None] * shares * torch.log(torch.e + products.exp())).sum())
    return torch.log(torch.exp(loss / (shares[:, None] * shares)) - torch.e)


def sharper_info_nce(products: Tensor, shares: Tensor) -> Tensor:
    """As derived here: the loss is a sum over pairs of classes, in which a pair stands twice, a class with itself adds
    p^2 log 2e, and no other pair less than log(e + 1/e). With two classes there is no other, and it is an equality."""
    pairs = shares[:, None] * shares
    loss = (pairs * torch.log(torch.e + products.exp())).sum()
    own = shares.square().sum()
    others = (1 - own - 2 * pairs).clip(min=0) * float(np.log(np.e + 1 / np.e))
    left = loss - own * float(np.log(2 * np.e)) - others
    return torch.log(torch.exp(left / (2 * pairs)) - torch.e)


def correlation_bound(loss: Tensor, shares: Tensor, dim: int) -> Tensor:
    """Theorem 4's bound of the products, (k, k), where each class is one point and so tau' is 0; of the second part of
    the cross-correlation loss, |E f f' - I|^2."""
    left = loss - (dim - len(shares)) / 2
    return (2 / (shares[:, None] * shares) * left).sqrt()


def sharper_correlation(loss: Tensor, shares: Tensor, dim: int) -> Tensor:
    """As derived here: |E f f' - I|^2 = |A' A - I|^2 + d - K, A the centres times the roots of their shares, and a
    product stands in A' A twice."""
    return ((loss - (dim - len(shares))).clip(min=0) / (2 * shares[:, None] * shares)).sqrt()


def divergence(seed: int) -> dict[str, float]:
    """What the products of the centres of collapsed classes exceed the bounds of both losses by; and what the sharper
    ones are off where they are met: by two classes alone, and where two centres alone are not orthogonal and all have
    the length 1 / sqrt(p)."""
    draw = torch.Generator().manual_seed(seed)
    classes, dim = 2 + seed % 4, 8
    shares = torch.rand(classes, generator=draw, dtype=torch.float64) + 0.2
    shares = shares / shares.sum()
    rows = F.normalize(torch.randn(classes, dim, generator=draw, dtype=torch.float64), dim=1)
    near = F.normalize(rows + 2 * torch.ones(dim), dim=1)  # all on one side
    different = ~torch.eye(classes, dtype=torch.bool)
    found = {}
    for name, unit in (("anywhere", rows), ("on one side", near)):
        products = unit @ unit.T
        limits = {"theorem 3": info_nce_bound(products, shares), "sharper 3": sharper_info_nce(products, shares)}
        for label, limit in limits.items():
            found[f"{label}, {name}"] = max(float((products - limit)[different].max()), 0.0)
        centres = dim**0.5 * unit
        loss = _redundancy(centres, shares)
        limits = {
            "theorem 4": correlation_bound(loss, shares, dim),
            "sharper 4": sharper_correlation(loss, shares, dim),
        }
        for label, limit in limits.items():
            found[f"{label}, {name}"] = max(float((centres @ centres.T - limit)[different].max()), 0.0)
    frame = torch.eye(classes, dim, dtype=torch.float64)
    frame[1, :2] = torch.tensor([0.6, 0.8])
    centres = frame / shares.sqrt()[:, None]
    limit = sharper_correlation(_redundancy(centres, shares), shares, dim)
    found["sharper 4, at equality"] = abs(float(limit[0, 1] / (centres[0] @ centres[1])) - 1)
    two = rows[:2] @ rows[:2].T
    limit = sharper_info_nce(two, shares[:2] / shares[:2].sum())
    return found | {"sharper 3, at equality": abs(float(limit[0, 1] - two[0, 1]))}


def _redundancy(centres: Tensor, shares: Tensor) -> Tensor:
    """|E f f' - I|^2 where f is a centre."""
    return ((centres.T * shares) @ centres - torch.eye(centres.shape[1], dtype=torch.float64)).square().sum()


def agreement(seed: int) -> dict[str, float]:
    """Of dimensions with mean square 1: L_align against 2 (d - sum of C_kk), what it exceeds 2 sqrt(d L1) by, relative,
    and what it is off where all dimensions agree alike; L1 the sum of (1 - C_kk)^2."""
    one = problem(seed)
    features = one.features / (one.mass @ one.features.square().mean(dim=0)).sqrt()
    agree = one.mass @ features.mean(dim=0).square()
    loss = Problem(one.versions, features, one.labels, one.mass).alignment()
    alike = agree.mean().repeat(len(agree))
    return {
        "alignment by correlations": abs(loss / float(2 * (1 - agree).sum()) - 1),
        "lemma 4.1": max(loss / cauchy(agree) - 1, 0.0),
        "lemma 4.1, at equality": abs(cauchy(alike) / loss - 1),
    }


def cauchy(agree: Tensor) -> float:
    """Lemma 4.1's bound of L_align by the correlations C_kk, (d,): 2 sqrt(d L1)."""
    return 2 * float(len(agree) * (1 - agree).square().sum()) ** 0.5


def nearer(seed: int) -> dict[str, float]:
    """Of the world that is trained on: d_A of 24 vectors against the least over all versions that take their redrawn
    groups from any of them; how d_A^2 falls by a group's own distance where it is redrawn too; and how far sigma of 200
    vectors falls then, or at a larger delta."""
    distances, sigmas, off = [], [], 0.0
    for redrawn in SETS:
        world = Groups(redrawn=redrawn)
        world.setup()
        rows = slice(200 * seed, 200 * (seed + 1))
        latents, labels = world.splits["val"].views[rows].double(), world.splits["val"].labels[rows]
        distances.append(world.augmented_distance(latents))
        off = max(
            off, float((distances[-1][:24, :24] - augmented_distance(_versions(world, latents[:24]))).abs().max())
        )
        sigmas.append([concentration(distances[-1], labels, delta) for delta in (8.0, 10.0, 12.0, 14.0)])
    found = {"d_A": off}
    for group in (1, 2, 3):
        own = torch.cdist(latents[:, Groups.part(group)], latents[:, Groups.part(group)])
        less = distances[group - 1].square() - distances[group].square()
        found[f"d_A^2 without group {group}"] = float((less - own.square()).abs().max())
    table = torch.tensor(sigmas)
    return found | {"fall of sigma": max(-float(table.diff(dim=0).min()), -float(table.diff(dim=1).min()), 0.0)}


def _versions(world: Groups, latents: Tensor) -> Tensor:
    """Each vector with the redrawn groups of each other, (n, n, d)."""
    versions = latents.expand(len(latents), -1, -1).clone()
    for group in world.redrawn:
        part = Groups.part(group)
        versions[:, :, part] = latents[:, None, part]
    return versions
