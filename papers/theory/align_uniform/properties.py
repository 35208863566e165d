"""What the paper proves of the contrastive loss and of uniformity, in exact expectations: no number here is sampled.

Expectations over negatives are those of `common.population`, those over a sphere are quadratures, all in float64.
"""

import numpy as np
import torch
from scipy.special import eval_gegenbauer, hyp0f1, roots_jacobi
from torch import Tensor
from torch.nn import functional as F

from common.losses import alignment, uniformity
from common.population import Joint, info_nce, info_nce_limit

PAIRS, DIM = 24, 8
COUNTS = 2 ** torch.arange(4, 15)
"""Numbers of negatives, from 16 to 16,384."""
TEMPERATURES = (0.1, 0.5)


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Unit vectors of the two views of 24 samples, (24, 8) each, float64."""
    draw = torch.Generator().manual_seed(seed)
    centre, *noise = torch.randn(3, PAIRS, DIM, generator=draw, dtype=torch.float64)
    one, other = (F.normalize(centre + 0.5 * part, dim=-1) for part in noise)
    return one, other


def views(one: Tensor, other: Tensor) -> tuple[Tensor, Joint]:
    """The vectors of all views, (2 n, d), and the distribution of positives: a view and the other of its sample."""
    pairs = torch.eye(len(one), dtype=torch.float64).repeat(2, 2) - torch.eye(2 * len(one), dtype=torch.float64)
    return torch.cat([one, other]), Joint(pairs / pairs.sum())


def asymptotics(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Of the distance from the limit, for each temperature: what its slope in log M, from 16 negatives to 16,384, is
    above -1/2; and what it exceeds the bound of the proof by, 1/M e^(2/t) + e^(1/t) sd / sqrt(M). Beside them the
    distances."""
    (rows, joint), log_counts, found, shown = views(*drawn(seed)), COUNTS.double().log(), {}, {}
    for t in TEMPERATURES:
        scores = rows @ rows.T / t
        losses = torch.stack([info_nce(scores, joint, int(count)) for count in COUNTS])
        off = (losses - log_counts - info_nce_limit(scores, joint)).abs()
        centred = log_counts - log_counts.mean()
        slope = float((centred * off.log()).sum() / centred.square().sum())
        deviation = scores.exp().std(dim=1, correction=0).mean()
        bound = np.exp(2 / t) / COUNTS.double() + np.exp(1 / t) * deviation / COUNTS.double().sqrt()
        found[f"slope + 1/2 at temperature {t}"] = max(0.0, slope + 0.5)
        found[f"above the bound at temperature {t}"] = max(0.0, float((off - bound).max()))
        shown |= {f"distance at {t} with {count}": float(away) for count, away in zip(COUNTS, off, strict=True)}
    return found, shown


def terms(seed: int) -> dict[str, float]:
    """The terms of the limit against the losses: the first is `alignment` up to a constant and a factor, and with its
    log outside the second is `uniformity` at 1 / (2 t) up to a constant, and no less than with the log inside."""
    one, other = drawn(seed)
    found = {}
    for t in TEMPERATURES:
        pull = float(-(one * other).sum(dim=1).mean() / t)
        found[f"alignment at temperature {t}"] = abs(pull - float(alignment(one, other)) / (2 * t) + 1 / t)
        others = (one @ one.T / t)[~torch.eye(PAIRS, dtype=torch.bool)].view(PAIRS, -1)
        inside = others.logsumexp(dim=1) - np.log(PAIRS - 1)
        outside = inside.logsumexp(dim=0) - np.log(PAIRS)
        found[f"uniformity at temperature {t}"] = abs(float(outside - uniformity(one, t=1 / (2 * t))) - 1 / t)
        found[f"order of the two at temperature {t}"] = max(0.0, float(inside.mean() - outside))
    return found


def least(m: int, t: float) -> float:
    """The value of L_uniform at the uniform distribution in m dimensions (corollary 1)."""
    return float(np.log(hyp0f1(m / 2, t * t)) - 2 * t)


def zonal(m: int, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Cosines with a fixed direction, and the weights that average over the sphere in m dimensions."""
    cosine, weight = roots_jacobi(points, (m - 3) / 2, (m - 3) / 2)
    return cosine, weight / weight.sum()


def uniform_value(seed: int) -> dict[str, float]:
    """The closed form against a quadrature of the potential; that it falls with m; and that -2t is below it."""
    found = {}
    for t in (1.0, 2.0, 3.0):
        for m in (2, 3, 10, 128):
            cosine, weight = zonal(m)
            value = np.log(weight @ np.exp(2 * t * (cosine - 1)))
            found[f"m {m}, t {t}"] = float(abs(value - least(m, t)))
        values = [least(m, t) for m in range(2, 400)] + [-2 * t]
        found[f"rise with m, t {t}"] = max(0.0, float(np.diff(values).max()))
    return found


def own_pairs(seed: int) -> dict[str, float]:
    """Of batches: how far the value with own pairs is below `least`, and what the value without is off from eq. 8.

    Raises:
        ArithmeticError: without own pairs no batch was below `least`, as the appendix warns of.
    """
    draw = torch.Generator().manual_seed(seed)
    m, t, found, below = 6, 2.0, {}, False
    simplex = torch.eye(m + 1, dtype=torch.float64) - 1 / (m + 1)
    batches = {
        "spread": torch.randn(40, m, generator=draw, dtype=torch.float64),
        "near each other": 3 + torch.randn(15, m, generator=draw, dtype=torch.float64),
        "a regular simplex": simplex,
    }
    for name, rows in batches.items():
        x, b = F.normalize(rows, dim=1), len(rows)
        without = float(uniformity(x, t=t))
        with_own = float((2 * t * (x @ x.T - 1)).flatten().logsumexp(dim=0)) - 2 * np.log(b)
        found[f"below the least value, {name}"] = max(0.0, least(m, t) - with_own)
        found[f"equation 8, {name}"] = abs(without - np.log((b * np.exp(with_own) - 1) / (b - 1)))
        below = below or without < least(m, t)
    if not below:
        raise ArithmeticError("no batch without own pairs is below the least value of a distribution")
    return found


_ANGLES = 240
CIRCLE = 2 * np.pi * np.arange(_ANGLES) / _ANGLES


def potentials(density: np.ndarray, temperature: float) -> tuple[float, float, float]:
    """Of a density on `CIRCLE` with mean 1: the second term of eq. 2, and it with the log outside and innermost."""
    mass = density / density.sum()
    logits = np.cos(CIRCLE[:, None] - CIRCLE) / temperature
    inner = np.exp(logits) @ mass
    return float(mass @ np.log(inner)), float(np.log(mass @ inner)), float(mass @ logits @ mass)


def place_of_the_log(seed: int) -> dict[str, float]:
    """How far other densities on the circle are below the uniform one, in the second term and with the log outside;
    and by how much two opposite points differ from it with the log innermost, where they should be as good."""
    draw = np.random.default_rng(seed)
    waves = [1 + 0.9 * np.cos(n * CIRCLE) for n in range(1, 9)]
    # Points that are spread evenly, a few of them, are the nearest that there is to a uniform density.
    points = [(np.arange(_ANGLES) % (_ANGLES // n) == 0).astype(float) for n in (2, 3, 4, 5, 6, 8)]
    rough = [draw.exponential(size=_ANGLES) for _ in range(5)]
    found = {}
    for t in (0.1, 0.5, 1.0):
        uniform = potentials(np.ones(_ANGLES), t)
        others = [potentials(density, t) for density in waves + points + rough]
        for place, name in enumerate(("second term", "log outside")):
            found[f"{name} at temperature {t}"] = max(0.0, *(uniform[place] - other[place] for other in others))
        found[f"log innermost at temperature {t}"] = abs(uniform[2] - potentials(points[0], t)[2])
    return found


def single_negative(seed: int) -> dict[str, float]:
    """With one negative and perfect alignment, by how much other distributions have a lower loss than the uniform one.

    On the circle these are regular polygons: an encoder that sends every sample, with all of its views, to one of a few
    points; 240 of them stand for all. On other spheres they are densities 1 + C / C(1), C the Gegenbauer polynomial of
    the cosine with a fixed direction; by the theorem of Funk and Hecke the loss then changes by the eigenvalue of the
    kernel log(1 + exp((cos - 1) / t)) times the mean square of C / C(1), and is lower where that is negative.
    """
    found = {}
    for t in (0.2, 0.5, 1.0):
        losses = [_polygon(corners, t) for corners in range(2, 13)]
        found[f"polygons, temperature {t}"] = max(0.0, _polygon(_ANGLES, t) - min(losses))
        for m in (3, 10):
            cosine, weight = zonal(m)
            kernel, changes = np.logaddexp(0, (cosine - 1) / t), []
            for n in range(1, 13):
                wave = eval_gegenbauer(n, m / 2 - 1, cosine) / eval_gegenbauer(n, m / 2 - 1, 1.0)
                changes.append(float((weight @ (kernel * wave)) * (weight @ wave**2)))
            found[f"m {m}, temperature {t}"] = max(0.0, -min(changes))
    return found


def _polygon(corners: int, temperature: float) -> float:
    """L_contrastive with one negative, where the vectors are the corners and all views of a sample are one."""
    angles = 2 * torch.pi * torch.arange(corners, dtype=torch.float64) / corners
    scores = torch.cos(angles[:, None] - angles) / temperature
    return float(info_nce(scores, Joint(torch.eye(corners, dtype=torch.float64) / corners), 1))
