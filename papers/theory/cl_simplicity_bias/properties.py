"""What the minimum-norm minimizers of the spectral loss see of each feature, for linear encoders, in float64.

The paper's text was not at hand: the model, and the formulas of the lengths, are our reading and derived here. There,
x = sum_j phi_j r_j v_j + sigma q: directions v_j are orthonormal, the signs r_j are those of the class, of the subclass
and of a shortcut, and q is a noise of length 1 of each sample. An augmentation keeps all of x and adds a noise of
deviation tau in each coordinate. How much of a feature an encoder sees is the length of W v_j.
"""

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from common.population import linear_minimizer, linear_minimizer_of_samples

N = 32
"""Samples of the exact world: four of each combination of three signs."""


@dataclass(frozen=True)
class World:
    """Samples x, (n, d), whose features have the signs (n, k), the directions (k, d) and the strengths (k,)."""

    x: Tensor
    signs: Tensor
    directions: Tensor
    strengths: Tensor
    sigma: float

    @property
    def labels(self) -> Tensor:
        return (self.signs[:, 0] > 0).long()

    @property
    def noise(self) -> float:
        """What the noise adds to the mean square along one of the samples' own directions: sigma^2 / n."""
        return self.sigma**2 / len(self.x)

    def seen(self, weight: Tensor) -> Tensor:
        """|W v_j|, (k,)."""
        return (weight @ self.directions.T).norm(dim=0)


def balanced() -> Tensor:
    """Each combination of three signs as often, (32, 3)."""
    return 2.0 * (torch.arange(N)[:, None] >> torch.arange(3) & 1).double() - 1


def exact(seed: int, sigma: float = 2.0) -> World:
    """A world whose noises are orthogonal to each other and to all features, turned at random; the shortcut is
    stronger than the class, and the class than the subclass."""
    draw = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(3 + N, 3 + N, generator=draw, dtype=torch.float64)).Q
    strengths = torch.tensor([1.0, 0.6, 1.6]) + 0.2 * torch.rand(3, generator=draw)
    strengths, signs = strengths.double(), balanced()
    return World((signs * strengths) @ turned[:3] + sigma * turned[3:], signs, turned[:3], strengths, sigma)


def random(seed: int, n: int, d: int) -> World:
    """Class and subclass in d dimensions, both of strength 1; the noise is Gaussian, its mean square length n."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64) * (n / d) ** 0.5
    signs = balanced()[:, :2].repeat(n // N + 1, 1)[:n]
    directions = torch.eye(2, d, dtype=torch.float64)
    return World(x + signs @ directions, signs, directions, torch.ones(2).double(), n**0.5)


def length(strength: Tensor, noise: float, tau: float, share: Tensor) -> Tensor:
    """|W v| of a feature that has room: sqrt(share) phi / (phi^2 + noise + tau^2), share that of the positives which
    agree in its sign."""
    return share.sqrt() * strength / (strength.square() + noise + tau**2)


def expected(world: World, width: int, tau: float, by_label: float) -> Tensor:
    """|W v_j| of the minimizer of by_label SCL + (1 - by_label) UCL, (k,), by formula.

    Along each sign vector the spectrum of the positives, after whitening, is share lambda / (lambda + tau^2), lambda =
    phi^2 + noise. The class is shared by all positives, the other features by two views of one sample alone, and so are
    the noises, but for the mean of all samples. The `width` largest have room.
    """

    def spectrum(squares: Tensor, share: Tensor) -> Tensor:
        return share * squares / (squares + tau**2)

    shares = torch.full((len(world.strengths),), 1 - by_label, dtype=torch.float64)
    shares[0] = 1.0
    noises = torch.full((len(world.x) - len(shares),), 1 - by_label, dtype=torch.float64)
    noises[0] = 1.0
    features = spectrum(world.strengths.square() + world.noise, shares)
    rivals = torch.cat([features, spectrum(torch.full_like(noises, world.noise), noises)])
    place = (rivals > features[:, None]).sum(dim=1)
    return torch.where(place < width, length(world.strengths, world.noise, tau, shares), 0.0)


def _off(world: World, width: int, tau: float, by_label: float) -> float:
    weight = linear_minimizer_of_samples(world.x, width, noise=tau, labels=world.labels, by_label=by_label)
    return float((world.seen(weight) - expected(world, width, tau, by_label)).abs().max())


def collapse(seed: int) -> dict[str, float]:
    """Of the minimum-norm minimizer of the supervised loss: the lengths against the formula, by which that of the
    subclass is 0; and, with Gaussian noise, what the subclass's length exceeds `leak`.

    Raises:
        ArithmeticError: the bound is above a third of the class's length, and says nothing.
    """
    found = {f"width {width}, tau {tau}": _off(exact(seed), width, tau, 1.0) for width in (2, 8) for tau in (0.0, 0.5)}
    world = random(seed, 16, 8000)
    class_, subclass = world.seen(linear_minimizer_of_samples(world.x, 4, labels=world.labels)).tolist()
    bound = leak(world)
    if bound > class_ / 3:
        raise ArithmeticError(f"the bound {bound} says nothing beside the class's length {class_}")
    return found | {"Gaussian noise": max(subclass - bound, 0.0)}


def leak(world: World) -> float:
    """A bound of |W v_2| without augmentation, where class and subclass are balanced and have strength 1.

    The rows of W span X^+ y and X^+ 1. With K = X X' = K0 + E, where K0 = y y' + s s' + sigma^2, and X v_2 = s + z,
    u' K0^-1 s = 0 for u = y and 1. So |u' K^-1 X v_2| <= |K0^-1 u| |E| |K^-1 s| + |K^-1 u| |z|, and
    |K^-1 u| <= |K0^-1 u| (1 + |E| / (sigma^2 - |E|)).
    """
    n, square = len(world.x), world.sigma**2
    ideal = world.signs @ world.signs.T + square * torch.eye(n, dtype=torch.float64)
    off = float(torch.linalg.matrix_norm(world.x @ world.x.T - ideal, 2))
    rest = float((world.x @ world.directions[1] - world.signs[:, 1]).norm())
    more = 1 + off / (square - off)
    alone, along = n**0.5 / square, n**0.5 / (square + n)
    terms = [part * (off * more * along + more * rest) for part in (along, alone)]
    return sum(term**2 for term in terms) ** 0.5


def not_all(seed: int) -> dict[str, float]:
    """Two minimizers of the supervised loss over the views of 64 samples in 600 dimensions: of the minimum-norm one,
    and of it with a row along what the subclass has outside of all views. The gradient of each and the difference of
    their losses, relative; what the first tells more than 0.7 and the second less than 0.95 of fresh subclasses."""
    world = random(seed, 64, 600)
    draw = torch.Generator().manual_seed(seed + 1000)
    views = torch.cat([world.x + 0.1 * torch.randn(world.x.shape, generator=draw).double() for _ in range(2)])
    labels = world.labels.repeat(2)
    second, means = views.T @ views / len(views), torch.stack([views[labels == c].mean(dim=0) for c in (0, 1)])
    cross = means.T @ means / 2
    basis = torch.linalg.svd(views, full_matrices=False).Vh
    least = linear_minimizer(basis @ second @ basis.T, basis @ cross @ basis.T, 3) @ basis
    outside = world.directions[1] - basis.T @ (basis @ world.directions[1])
    other = least.clone()
    other[2] += outside / outside.norm()
    losses = [_loss(weight, second, cross) for weight in (least, other)]
    found = {"difference of the losses": abs(losses[1] - losses[0]) / abs(losses[0])}
    for name, weight in (("minimum norm", least), ("other", other)):
        slope = -weight @ cross + (weight @ second @ weight.T) @ weight @ second
        found[f"gradient, {name}"] = float(slope.norm() / (weight @ cross).norm())
    return found | {
        "told by the minimum norm": max(told(world, least) - 0.7, 0.0),
        "not told by the other": max(0.95 - told(world, other), 0.0),
    }


def _loss(weight: Tensor, second: Tensor, cross: Tensor) -> float:
    spread = weight @ second @ weight.T
    return float(spread.square().sum() - 2 * (weight @ cross @ weight.T).trace())


def told(world: World, weight: Tensor) -> float:
    """How often the best linear rule on W x names the subclass of a fresh sample whose class is known: its noise is
    Gaussian, and so the rule errs by the normal tail beyond the square root of the signal-to-noise ratio."""
    signal = weight @ world.directions[1] * world.strengths[1]
    noise = weight @ weight.T * world.sigma**2 / weight.shape[1]
    ratio = float(signal @ torch.linalg.pinv(noise, rtol=1e-9, hermitian=True) @ signal)
    return NormalDist().cdf(max(ratio, 0.0) ** 0.5)


def suppression(seed: int) -> dict[str, float]:
    """Of UCL at each width: the lengths against the formula, in which the p strongest features are seen and no others;
    and at any width what the class's exceeds phi / noise, which an irrelevant part that views keep drives to 0."""
    world = exact(seed)
    found = {f"width {width}": _off(world, width, 0.5, 0.0) for width in (1, 2, 3, N)}
    for sigma in (5.0, 20.0, 80.0):
        kept = exact(seed, sigma)
        weight = linear_minimizer_of_samples(kept.x, N, noise=0.5)
        bound = float(kept.strengths[0]) / kept.noise
        found[f"kept, sigma {sigma}"] = max(float(kept.seen(weight)[0]) - bound, 0.0)
    # The same mean square in each coordinate, but drawn anew in each view: it is no longer learnt.
    sigma = 20.0
    kept = exact(seed, sigma)
    tau = (0.25 + sigma**2 / kept.x.shape[1]) ** 0.5
    weight = linear_minimizer_of_samples(kept.signs * kept.strengths @ kept.directions, N, noise=tau)
    redrawn = length(kept.strengths, 0.0, tau, torch.ones(3).double())
    return found | {"drawn anew": float((kept.seen(weight) - redrawn).abs().max())}


def joint(seed: int) -> dict[str, float]:
    """Of the weighted sum at three weights and widths: the lengths against the formula. With room for all features
    class and subclass are seen; with room for one, which it is depends on the weight."""
    shares, widths = (0.25, 0.5, 0.75), (1, 3, 8)
    found = {f"beta {beta}, width {p}": _off(exact(seed), p, 0.5, beta) for beta in shares for p in widths}
    lengths = expected(exact(seed), 8, 0.5, 0.5)
    return found | {"class or subclass not seen": float((lengths[:2] <= 0).sum())}


def ratios(strengths: Tensor, rho: float, noise: float) -> tuple[float, float]:
    """|W v_2| / |W v_1| early in a descent and in its end, where subclass and class have the correlation rho.

    Early W grows along X' y, and the ratio is rho phi_2 / phi_1. In the end W is X^+ y, and the ratio is smaller by
    kappa / (kappa + phi_2^2), kappa = noise / (1 - rho^2).
    """
    kappa = noise / (1 - rho**2)
    early = rho * float(strengths[1] / strengths[0])
    return early, early * kappa / (kappa + float(strengths[1]) ** 2)


def unlearned(seed: int) -> dict[str, float]:
    """Descent on the supervised loss from near 0, where the subclass has a correlation of 1/2 with the class among the
    samples: |W v_2| / |W v_1| early and in the end, relative to `ratios`. With no correlation nothing is unlearnt."""
    world = exact(seed)
    class_, subclass = torch.ones(N, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
    class_[N // 2 :] = -1
    subclass[3 * N // 8 : N // 2] = -1
    subclass[5 * N // 8 :] = -1
    directions, strengths = world.directions[:2], world.strengths[:2]
    noises = world.x - (world.signs * world.strengths) @ world.directions
    x = (torch.stack([class_, subclass], dim=1) * strengths) @ directions + noises
    means = torch.stack([x[class_ == sign].mean(dim=0) for sign in (1, -1)])
    second, cross = x.T @ x / N, means.T @ means / 2
    draw = torch.Generator().manual_seed(seed)
    weight = 1e-9 * torch.randn(3, x.shape[1], generator=draw, dtype=torch.float64)
    found: list[float] = []
    for _ in range(4000):
        lengths = (weight @ directions.T).norm(dim=0)
        if not found and lengths[0] > 1e-4:
            found.append(float(lengths[1] / lengths[0]))
        weight = weight + 0.2 * (weight @ cross - (weight @ second @ weight.T) @ weight @ second)
    found.append(float(lengths[1] / lengths[0]))
    expected_ratios = ratios(strengths, float(class_ @ subclass) / N, world.noise)
    pairs = zip(("early", "in the end"), found, expected_ratios, strict=True)
    return {name: abs(ratio / formula - 1) for name, ratio, formula in pairs}
