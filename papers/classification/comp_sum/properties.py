"""The bounds of the paper, checked in float64 on finite distributions, whose regrets are known in closed form."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.classification.comp_sum.module import CompSum, comp_sum

TAUS = (0.0, 0.5, 1.0, 1.5, 2.0)
CLASSES = (2, 3, 5, 10)
POINTS = 20


def transformation(b: Tensor, tau: float, n: int, rest: Tensor | None = None) -> Tensor:
    """T_tau, of which the bound on the 0/1 regret is the inverse: the least surrogate regret at a 0/1 regret of b.

    Args:
        b: in [0, 1], any shape.
        tau: from 0 to 2.
        n: classes.
        rest: 1 - b, where it is known better than by subtraction: at b = 1 the slope of T_tau is infinite below tau 1,
            so that b's last bit, 1e-16, moves T_0 by 1e-8.
    """
    rest = 1 - b if rest is None else rest
    if tau == 1:
        return (torch.special.xlogy(1 + b, 1 + b) + torch.special.xlogy(rest, rest)) / 2
    if tau >= 2:
        return b / ((tau - 1) * n ** (tau - 1))
    power = 1 / (2 - tau)
    mean = (((1 + b) ** power + rest**power) / 2) ** (2 - tau)
    return 2 ** (1 - tau) / (1 - tau) * (1 - mean) if tau < 1 else (mean - 1) / ((tau - 1) * n ** (tau - 1))


def risk(chances: Tensor, log_p: Tensor, tau: float) -> Tensor:
    """The expected loss at each point, (m,), given the chances of the classes there and a prediction, both (m, n)."""
    losses = comp_sum(log_p, tau)
    return torch.where(chances > 0, chances * losses, 0.0).sum(dim=1)


def best(chances: Tensor, tau: float) -> Tensor:
    """Log-probabilities of least risk: in proportion to chances^(1 / (2 - tau)), and at tau 2 all on the likeliest."""
    if tau == 2:
        return F.one_hot(chances.argmax(dim=1), chances.shape[1]).to(chances).log()
    return (chances.log() / (2 - tau)).log_softmax(dim=1)


def forced(chances: Tensor, wrong: Tensor, tau: float) -> Tensor:
    """Log-probabilities of least risk among those whose largest is that of class `wrong`, (m,), at each point.

    The risk is convex in what `best` is a power of, so that the class shares one value with the likelier ones that it
    must not be below: their mean chance. At tau 2, where the risk is linear, it shares all there is with as many of the
    likeliest as pays.
    """
    rows = []
    for eta, k in zip(chances, wrong.tolist(), strict=True):
        others = [j for j in eta.argsort(descending=True).tolist() if j != k]
        pools = [[k, *others[:size]] for size in range(len(others) + 1)]
        if tau == 2:
            pool = max(pools, key=lambda pool: float(eta[pool].mean()))
            rows.append(torch.zeros_like(eta).index_fill(0, torch.tensor(pool), 1 / len(pool)).log())
        else:
            fits = (pool for pool in pools if len(pool) > len(others) or eta[others[len(pool) - 1]] <= eta[pool].mean())
            pool = next(fits)
            pooled = eta.index_fill(0, torch.tensor(pool), float(eta[pool].mean()))
            rows.append(best(pooled[None], tau)[0])
    return torch.stack(rows)


def drawn(generator: torch.Generator, n: int, points: int) -> Tensor:
    """Chances of n classes, (points, n): some few-sided, some even, some of two classes, some with one class ahead."""
    uniform = torch.rand(points, n, generator=generator, dtype=torch.float64)
    chances = torch.empty(points, n, dtype=torch.float64)
    chances[0::4] = (-(uniform[0::4].log() ** 3)).softmax(dim=1)
    chances[1::4] = (2 * uniform[1::4]).softmax(dim=1)
    ahead = uniform[:, :1]
    chances[2::4] = F.pad(torch.cat([1 + ahead, 1 - ahead], dim=1) / 2, (0, n - 2))[2::4]
    chances[3::4] = ((1 - ahead) / n).expand(-1, n)[3::4]
    chances[3::4, 0] += ahead[3::4, 0]
    return chances


def bound(seed: int) -> dict[str, float]:
    """By how much T_tau(0/1 regret) exceeds the surrogate regret, 0 if it does not, for distributions over 20 points.

    The predictions are the best ones that name a wrong class, these with an error added, and random ones; the regrets
    are means over the points, weighted at random.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for tau in TAUS:
        excess = 0.0
        for n in CLASSES:
            chances = drawn(generator, n, POINTS)
            weight = torch.rand(POINTS, generator=generator, dtype=torch.float64).softmax(dim=0)
            noise = torch.randn(POINTS, n, generator=generator, dtype=torch.float64)
            wrong = torch.randint(n, (POINTS,), generator=generator)
            at_wrong = forced(chances, wrong, tau)
            named = [(at_wrong, wrong)]
            for logits in (at_wrong.clamp(min=-30) + noise, 3 * noise):
                named.append((logits.log_softmax(dim=1), logits.argmax(dim=1)))
            least = risk(chances, best(chances, tau), tau)
            for log_p, label in named:
                top, own = chances.max(dim=1), chances.gather(1, label[:, None]).squeeze(1)
                missed = top.values - own
                rest = chances.scatter(1, top.indices[:, None], 0.0).sum(dim=1) + own
                regret = risk(chances, log_p, tau) - least
                for part in (weight, torch.eye(POINTS, dtype=torch.float64)):
                    least_regret = transformation(part @ missed, tau, n, part @ rest)
                    excess = max(excess, float((least_regret - part @ regret).max()))
        found[f"tau_{tau:g}"] = excess
    return found


def attained(seed: int) -> dict[str, float]:
    """How far surrogate regret / T_tau is from 1 where two classes have all chances, for tau <= 1 and for n = 2."""
    generator = torch.Generator().manual_seed(seed)
    b = 0.05 + 0.9 * torch.rand(POINTS, generator=generator, dtype=torch.float64)
    found = {}
    for tau, n in itertools.product(TAUS, CLASSES):
        if tau <= 1 or n == 2:
            chances = F.pad(torch.stack([1 + b, 1 - b], dim=1) / 2, (0, n - 2))
            wrong = torch.ones(POINTS, dtype=torch.long)
            regret = risk(chances, forced(chances, wrong, tau), tau) - risk(chances, best(chances, tau), tau)
            found[f"tau_{tau:g}_n_{n}"] = float((regret / transformation(b, tau, n) - 1).abs().max())
    return found


def slack(seed: int) -> float:
    """By how much the ratio of surrogate regret to T_tau falls short of (n / 2)^(1/2) at tau 1.5; 0 if it does not."""
    generator = torch.Generator().manual_seed(seed)
    short = 0.0
    for n in CLASSES:
        chances = drawn(generator, n, 200)
        wrong = torch.randint(n, (len(chances),), generator=generator)
        b = chances.amax(dim=1) - chances.gather(1, wrong[:, None]).squeeze(1)
        regret = risk(chances, forced(chances, wrong, 1.5), 1.5) - risk(chances, best(chances, 1.5), 1.5)
        clear = b > 0.01
        ratio = regret[clear] / transformation(b[clear], 1.5, n)
        short = max(short, float((math.sqrt(n / 2) - ratio).max()))
    return short


def simple(seed: int) -> float:
    """By how much the plain bounds exceed T_tau, 0 if they do not: b^2 / (2^tau (2 - tau)) below tau 1, then
    b^2 / (2 n^(tau - 1)), and at 2 b / n."""
    generator = torch.Generator().manual_seed(seed)
    b = torch.rand(1000, generator=generator, dtype=torch.float64)
    excess = 0.0
    for tau, n in itertools.product((*TAUS, 0.25, 0.9, 1.1, 1.9), CLASSES):
        plain = b**2 / (2**tau * (2 - tau) if tau < 1 else 2 * n ** (tau - 1)) if tau < 2 else b / n
        excess = max(excess, float((plain - transformation(b, tau, n)).max()))
    return excess


def family(seed: int) -> dict[str, float]:
    """The largest difference, relative and by gradient, from the losses that the family is said to hold."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(16, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(6, (16,), generator=generator)
    rows = torch.arange(16)
    p = logits.softmax(dim=1)[rows, labels]
    others = torch.exp(logits - logits[rows, labels][:, None]).sum(dim=1) - 1
    expected = {
        0.0: others,
        0.5: 2 * ((1 + others) ** 0.5 - 1),
        1.0: F.cross_entropy(logits, labels, reduction="none"),
        1.7: (1 - p**0.7) / 0.7,
        2.0: 1 - p,
    }
    found = {}
    for tau, right in expected.items():
        ours = CompSum(tau=tau, encoder="vector_tower", width=1).losses(logits, labels)
        pairs = [(ours, right)]
        pairs.append(tuple(torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (ours, right)))
        found[f"tau_{tau:g}"] = max(float(((x - y).abs() / (1 + y.abs())).detach().max()) for x, y in pairs)
    return found


def adversarial(seed: int, nu: float | None = None) -> dict[str, float]:
    """By how much the adversarial margin loss of linear models exceeds its smooth bound; 0 if it does not.

    With D the differences of the right logit from the others, PHI_rho(u) = min(max(0, 1 - u / rho), 1):
    PHI_tau(sum PHI_rho(D(x'))) <= PHI_tau(sum exp(-D(x) / rho)) + nu sup |D(x') - D(x)| for every x' in the cube, if nu
    is at least sqrt(n - 1) / rho, which is taken without `nu`. The supremum of the norm, which is convex, is at a
    corner, and all are tried; the left side is tried at the corners and at points between them.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, radius, found = 6, 0.3, {}
    corners = torch.tensor([*itertools.product((-radius, radius), repeat=inputs)], dtype=torch.float64)
    between = corners * torch.rand(len(corners), inputs, generator=generator, dtype=torch.float64)
    for tau in TAUS:
        excess = 0.0
        for n, rho in itertools.product((2, 3, 5), (0.5, 2.0)):
            weight = torch.randn(50, n, inputs, generator=generator, dtype=torch.float64)
            x = torch.randn(50, inputs, generator=generator, dtype=torch.float64)
            rows = weight[:, :1] - weight[:, 1:]  # the class 0 is right
            plain = torch.einsum("mni,mi->mn", rows, x)
            moves = torch.einsum("mni,ci->mcn", rows, torch.cat([corners, between]))
            margin = (1 - (plain[:, None] + moves) / rho).clamp(0, 1).sum(dim=2).amax(dim=1)
            smooth = torch.exp(-plain / rho).sum(dim=1)
            left, right = (comp_sum(-torch.log1p(u), tau) for u in (margin, smooth))
            factor = math.sqrt(n - 1) / rho if nu is None else nu
            excess = max(excess, float((left - right - factor * moves.norm(dim=2).amax(dim=1)).max()))
        found[f"tau_{tau:g}"] = excess
    return found
