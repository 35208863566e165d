"""What the paper proves of latent classes, by exact enumeration in float64: nothing is sampled.

Where the paper has a generalization error, all of the distribution is seen here and it is 0.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import get_args

import torch
from torch import Tensor, nn

from common.evaluation.class_tasks import Form, margin_loss
from common.population import Joint, multisets, triplet

FORMS: tuple[Form, ...] = get_args(Form)
BLOCKS = (1, 2, 3, 5)
LIPSCHITZ = {"hinge": 1 / math.sqrt(2), "logistic": 1 / (math.sqrt(2) * math.log(2))}
"""c' of theorem 4.5, which the paper leaves open. A gap v of two samples of one class is symmetric, so that E l(v) - 1
is E (v - 1)_+ of the hinge, at most E|v| / 2, and E log2 cosh(v / 2) of the logistic loss, at most E|v| / (2 ln 2);
and (E|v|)^2 <= E v^2 = 2 f(x)' Cov f(x)."""


@dataclass(frozen=True)
class World:
    """Classes over a few points, which may share them, and what a representation makes of the points."""

    shares: Tensor
    """rho, (k,)."""
    of_class: Tensor
    """Distribution D_c of the points in each class, (k, n)."""
    features: Tensor
    """f of each point, (n, d)."""

    @property
    def collisions(self) -> float:
        """tau."""
        return float(self.shares.square().sum())

    @property
    def scores(self) -> Tensor:
        """f(x) . mu_c, (n, k)."""
        return self.features @ (self.of_class @ self.features).T

    def block_loss(self, size: int, form: Form) -> Tensor:
        """L_un of blocks of `size` samples; 1 is the pairwise loss. Differentiable."""
        counts = multisets(self.of_class[0], size)[0]
        blocks = torch.stack([multisets(of, size)[1] for of in self.of_class])
        joint = Joint.of_classes(self.shares, self.of_class, blocks)
        return triplet(self.features @ (counts @ self.features / size).T, joint, lambda v: margin_loss(v, form))

    def of_pairs(self, form: Form) -> Tensor:
        """The mean classifier's loss on samples of c against c', (k, k); 1 on the diagonal."""
        gaps = self.scores[:, :, None] - self.scores[:, None, :]
        return torch.einsum("cx,xce->ce", self.of_class, margin_loss(gaps, form))

    def supervised(self, form: Form) -> float:
        """L_sup^mu."""
        weights = self.shares[:, None] * self.shares
        return float((weights * self.of_pairs(form)).fill_diagonal_(0.0).sum()) / (1 - self.collisions)

    def within(self, form: Form) -> float:
        """L_un of classes that collide."""
        collided = self.shares.square() / self.collisions
        joints = [Joint.of_classes(torch.ones(1), of[None]) for of in self.of_class]
        inner = self.features @ self.features.T
        losses = [triplet(inner, joint, lambda v: margin_loss(v, form)) for joint in joints]
        return float((collided * torch.stack(losses)).sum())

    def spread(self) -> float:
        """s(f) = E sqrt(|Cov_c f|_2) E |f(x)|, the classes drawn as often as they collide."""
        collided, total = self.shares.square() / self.collisions, 0.0
        for share, of in zip(collided, self.of_class, strict=True):
            apart = self.features - of @ self.features
            widest = torch.linalg.eigvalsh(apart.T @ (of[:, None] * apart))[-1].clamp(min=0).sqrt()
            total += float(share * widest * (of @ self.features.norm(dim=1)))
        return total


def drawn(seed: int, classes: int = 4, points: int = 6, width: int = 3) -> World:
    """Uneven classes that share their points, and random features, some seeds' small and some large."""
    draw = torch.Generator().manual_seed(seed)

    def shares(*shape: int) -> Tensor:
        return (1.5 * torch.randn(*shape, generator=draw, dtype=torch.float64)).softmax(dim=-1)

    scale = 0.3 * 2.0 ** (seed % 5)
    features = scale * torch.randn(points, width, generator=draw, dtype=torch.float64)
    return World(shares(classes), shares(classes, points), features)


def on_a_line(seed: int) -> World:
    """Each class half at a and half at -a, a large: where the collision's bound is within a factor of 1.5."""
    world = drawn(seed, classes=3, points=2, width=1)
    halves = torch.full((3, 2), 0.5, dtype=torch.float64)
    return replace(world, of_class=halves, features=torch.tensor([[4.0], [-4.0]], dtype=torch.float64))


def one_point_each(seed: int) -> World:
    """Each class a point of its own: features without spread, where a single negative leaves the bound no slack."""
    world = drawn(seed, points=4)
    return replace(world, of_class=torch.eye(4, dtype=torch.float64))


def trained(seed: int, size: int, form: Form = "logistic") -> World:
    """The same with features that a network has learnt by the loss of blocks of `size`, in 100 steps."""
    world = drawn(seed)
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(world.features), 8, generator=draw, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(100):
        optimizer.zero_grad()
        replace(world, features=network(inputs)).block_loss(size, form).backward()
        optimizer.step()
    return replace(world, features=network(inputs).detach())


def above(found: float, bound: float) -> float:
    """By how much a bound is exceeded; 0 if it is not."""
    return max(0.0, found - bound)


def chain_of(world: World, tau: float, form: Form = "logistic") -> dict[str, float]:
    """What is left of lemma 4.3 and proposition 6.2 with `tau` for the share of collisions.

    Returns:
        By how much L_sup^mu exceeds (L_b - tau) / (1 - tau), b the most of `BLOCKS`; by how much that exceeds the value
        of a smaller block; and, blocks without end being the class means, how far the bound is from L_sup^mu there.
    """
    ceilings = [(float(world.block_loss(size, form)) - tau) / (1 - tau) for size in BLOCKS]
    supervised = world.supervised(form)
    endless = float((world.shares[:, None] * world.shares * world.of_pairs(form)).sum())
    return {
        "above": above(supervised, min(ceilings)),
        "rising": max(above(larger, smaller) for smaller, larger in pairwise(ceilings)),
        "endless": abs((endless - tau) / (1 - tau) - supervised),
    }


def chain(seed: int) -> dict[str, float]:
    """`chain_of` random features and of those learnt with blocks of 1 and of 3, the worst of both losses."""
    found: dict[str, float] = {}
    for form in FORMS:
        worlds = {
            "random": drawn(seed),
            "pairs learnt": trained(seed, 1, form),
            "blocks learnt": trained(seed, 3, form),
        }
        for name, world in worlds.items():
            for what, value in chain_of(world, world.collisions, form).items():
                found[f"{name}, {what}"] = max(value, found.get(f"{name}, {what}", 0.0))
    return found


def best_linear(seed: int) -> float:
    """By how much the best linear classifier of two classes has more loss than their means: L_sup > L_sup^mu.

    The best is what L-BFGS finds, which started from 0: what it finds is above the infimum, so that 0 proves the claim.
    """
    worst = 0.0
    for world in (drawn(seed), trained(seed, 1)):
        pairs = world.of_pairs("logistic")
        for c, e in torch.combinations(torch.arange(len(pairs))).tolist():
            weight = torch.zeros(world.features.shape[1], dtype=torch.float64, requires_grad=True)

            def loss(weight: Tensor = weight, c: int = c, e: int = e, world: World = world) -> Tensor:
                gap = world.features @ weight
                own, other = margin_loss(gap, "logistic"), margin_loss(-gap, "logistic")
                return (world.of_class[c] @ own + world.of_class[e] @ other) / 2

            solver = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

            def closure(solver: torch.optim.LBFGS = solver, loss=loss) -> Tensor:
                solver.zero_grad()
                value = loss()
                value.backward()
                return value

            solver.step(closure)
            worst = max(worst, above(float(loss().detach()), float(pairs[c, e] + pairs[e, c]) / 2))
    return worst


def collisions_of(world: World, constant: float, form: Form) -> dict[str, float]:
    """Theorem 4.5 with `constant` for c'.

    Returns:
        How far L_un is from tau L_un^= + (1 - tau) L_un^!=; by how much 1 exceeds L_un^=, which costs at least as much
        as a guess; by how much L_un^= - 1 exceeds c' s(f); and L_sup^mu the bound L_un^!= + c' tau / (1 - tau) s(f).
    """
    tau, within, spread = world.collisions, world.within(form), world.spread()
    inner, apart = world.features @ world.features.T, 0.0
    for c, own in enumerate(world.of_class):
        others = world.shares.clone()
        others[c] = 0.0
        joint = Joint.of_classes(torch.ones(1), own[None])
        noise = others @ world.of_class / others.sum()
        loss = triplet(inner, joint, lambda v: margin_loss(v, form), noise)
        apart += float(world.shares[c] * others.sum() * loss) / (1 - tau)
    return {
        "parts": abs(float(world.block_loss(1, form)) - tau * within - (1 - tau) * apart),
        "guess": above(1.0, within),
        "within": above(within - 1, constant * spread),
        "supervised": above(world.supervised(form), apart + constant * tau / (1 - tau) * spread),
    }


def collisions(seed: int) -> dict[str, float]:
    """`collisions_of` random and learnt features and of points on a line, the worst of both losses."""
    found: dict[str, float] = {}
    for form in FORMS:
        for name, world in {"random": drawn(seed), "learnt": trained(seed, 1, form), "line": on_a_line(seed)}.items():
            for what, value in collisions_of(world, LIPSCHITZ[form], form).items():
                found[f"{name}, {what}"] = max(value, found.get(f"{name}, {what}", 0.0))
    return found


def minimizer(seed: int) -> dict[str, float]:
    """By how much the best of twelve representations by L_un has more supervised loss than any other's bound.

    Theorems 4.1 and 4.5 for a class of twelve functions and all of the distribution seen.
    """
    found = {"ceiling": 0.0, "collisions": 0.0}
    draw = torch.Generator().manual_seed(seed)
    for form in FORMS:
        world = drawn(seed)
        scales = torch.rand(12, 1, 1, generator=draw, dtype=torch.float64) * 2
        raw = torch.randn(12, *world.features.shape, generator=draw, dtype=torch.float64)
        worlds = [replace(world, features=features) for features in scales * raw]
        losses = [float(one.block_loss(1, form)) for one in worlds]
        supervised, tau = worlds[losses.index(min(losses))].supervised(form), world.collisions
        for one, loss in zip(worlds, losses, strict=True):
            constant = LIPSCHITZ[form] * tau / (1 - tau)
            apart = (loss - tau * one.within(form)) / (1 - tau)
            found["ceiling"] = max(found["ceiling"], above(supervised, (loss - tau) / (1 - tau)))
            found["collisions"] = max(found["collisions"], above(supervised, apart + constant * one.spread()))
    return found


def several_loss(gaps: Tensor, form: Form) -> Tensor:
    """l of several gaps, (..., K) -> (...): log2(1 + sum exp(-v)) or max(0, 1 + max(-v))."""
    if form == "hinge":
        return (1 - gaps.amin(dim=-1)).clamp(min=0)
    return torch.cat([torch.zeros_like(gaps[..., :1]), -gaps], dim=-1).logsumexp(dim=-1) / math.log(2)


def several_of(world: World, negatives: int, form: Form, at_collision: float = 1.0) -> dict[str, float]:
    """Theorem 6.1: what K negatives bound is a task of c+ and the classes of the negatives, each counted once.

    With tau_K the chance that a negative is of the anchor's class, and l_i(0) the loss of i gaps of 0, log2(1 + i) or
    1,     E[L_sup^mu of the task | no collision] <= (L_un - tau_K E[l_i(0) | i collisions, i > 0]) / (1 - tau_K).

    Args:
        at_collision: factor on l_i(0).

    Returns:
        By how much that is exceeded; and how far tau_K is from sum_c rho_c (1 - (1 - rho_c)^K).
    """
    inner, joint = world.features @ world.features.T, Joint.of_classes(world.shares, world.of_class)
    counts, chances = multisets(joint.columns, negatives)
    drawn_points = torch.stack([row.nonzero()[:, 0].repeat_interleave(row[row > 0].long()) for row in counts])
    gaps = inner[:, :, None, None] - inner[:, drawn_points][:, None]
    contrastive = float(torch.einsum("ab,w,abw->", joint.p, chances, several_loss(gaps, form)))
    tasks, collided, cost = 0.0, 0.0, 0.0
    numbers, weights = multisets(world.shares, negatives)
    for c, share in enumerate(world.shares.tolist()):
        for number, weight in zip(numbers, (share * weights).tolist(), strict=True):
            if (same := int(number[c])) > 0:
                collided += weight
                at_zero = float(several_loss(torch.zeros(same, dtype=torch.float64), form))
                cost += weight * at_collision * at_zero
                continue
            others = number.nonzero()[:, 0]
            of_task = several_loss(world.scores[:, [c]] - world.scores[:, others], form)
            tasks += weight * float(world.of_class[c] @ of_task)
    bound = (contrastive - cost) / (1 - collided)
    expected = float((world.shares * (1 - (1 - world.shares) ** negatives)).sum())
    return {"above": above(tasks / (1 - collided), bound), "collisions": abs(collided - expected)}


def several(seed: int) -> dict[str, float]:
    """`several_of` 1 to 3 negatives; random features, learnt ones and a point for each class, the worst of both losses.

    Returns:
        These; and of even classes, how far K / C is from tau_K beyond the second term, K (K - 1) / (2 C^2): collisions
        grow like K / C.
    """
    found: dict[str, float] = {}
    for form in FORMS:
        worlds = {"random": drawn(seed), "learnt": trained(seed, 1, form), "points": one_point_each(seed)}
        for name, world in worlds.items():
            for negatives in (1, 2, 3):
                for what, value in several_of(world, negatives, form).items():
                    found[f"{name}, {what}"] = max(value, found.get(f"{name}, {what}", 0.0))
    beyond = 0.0
    for classes in (4, 20, 100):
        for negatives in range(1, classes // 2):
            collided, first = 1 - (1 - 1 / classes) ** negatives, negatives / classes
            second = negatives * (negatives - 1) / (2 * classes**2)
            beyond = max(beyond, above(collided, first), above(first - second, collided))
    return found | {"even classes": beyond}
